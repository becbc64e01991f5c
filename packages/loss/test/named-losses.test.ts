import '@tensorflow/tfjs';
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { dpoLoss, type PreferenceLogps, type WpoLossInput, wpoLoss, wpoWeights } from '../src/index';
import { beta, labelSmoothing, scoredPairs } from './arbitraries';
import { answerBatch, answerOf, maxDifference, values } from './tensors';

const logps = (chosen: number[], rejected: number[], refChosen: number[], refRejected: number[]): PreferenceLogps => ({
  chosenLogps: tf.tensor1d(chosen),
  rejectedLogps: tf.tensor1d(rejected),
  refChosenLogps: tf.tensor1d(refChosen),
  refRejectedLogps: tf.tensor1d(refRejected),
});

// log π moved from -2 to -1 for the chosen answer and from -2 to -3 for the rejected: Δ = 1 + 1 = 2
const moved = () => logps([-1], [-3], [-2], [-2]);

const gradients = (input: PreferenceLogps, options: { beta: number; labelSmoothing?: number }, dy?: number[]) =>
  tf
    .grads((...[chosenLogps, rejectedLogps, refChosenLogps, refRejectedLogps]: tf.Tensor[]) => {
      const all = { chosenLogps, rejectedLogps, refChosenLogps, refRejectedLogps } as unknown as PreferenceLogps;
      return dpoLoss(all, options).losses;
    })([input.chosenLogps, input.rejectedLogps, input.refChosenLogps, input.refRejectedLogps], dy && tf.tensor1d(dy))
    .map((gradient) => values(gradient));

describe('dpoLoss', () => {
  it('equals a loss computed by hand', () => {
    const result = dpoLoss(moved(), { beta: 0.5 });
    // βΔ = 1; −log σ(1) = log(1 + e⁻¹) = 0.313262
    expect(values(result.losses)[0]).toBeCloseTo(0.313262, 6);
    expect(values(result.deltas)).toEqual([2]);
    expect(values(result.chosenRewards)).toEqual([0.5]);
    expect(values(result.rejectedRewards)).toEqual([-0.5]);
    expect(values(result.margins)).toEqual([1]);
  });

  it('applies label smoothing', () => {
    // 0.9 · 0.313262 + 0.1 · 1.313262 = 0.413262
    expect(values(dpoLoss(moved(), { beta: 0.5, labelSmoothing: 0.1 }).losses)[0]).toBeCloseTo(0.413262, 6);
  });

  it('defaults to beta 0.1 without label smoothing', () => {
    expect(values(dpoLoss(moved()).losses)[0]).toBeCloseTo(Math.log1p(Math.exp(-0.2)), 6);
  });

  it('has gradients computed by hand', () => {
    // −β σ(−1) = −0.5 · 0.268941 = −0.134471
    const [chosen, rejected, refChosen, refRejected] = gradients(moved(), { beta: 0.5 });
    expect(chosen![0]).toBeCloseTo(-0.134471, 6);
    expect(rejected![0]).toBeCloseTo(0.134471, 6);
    expect(refChosen![0]).toBeCloseTo(0.134471, 6);
    expect(refRejected![0]).toBeCloseTo(-0.134471, 6);
    // β (ε σ(1) − (1−ε) σ(−1)) = 0.5 (0.1 · 0.731059 − 0.9 · 0.268941) = −0.084471
    expect(gradients(moved(), { beta: 0.5, labelSmoothing: 0.1 })[0]![0]).toBeCloseTo(-0.084471, 6);
  });

  it('agrees with finite differences of the formula in float64', () => {
    const logSigmoid = (x: number) => (x < 0 ? x - Math.log1p(Math.exp(x)) : -Math.log1p(Math.exp(-x)));
    const loss = (delta: number, beta: number, e: number) =>
      -(1 - e) * logSigmoid(beta * delta) - e * logSigmoid(-beta * delta);
    fc.assert(
      fc.property(scoredPairs, beta, labelSmoothing, (batch, beta, e) => {
        const input = logps(
          batch.map((p) => p.chosen),
          batch.map((p) => p.rejected),
          batch.map((p) => p.refChosen),
          batch.map((p) => p.refRejected),
        );
        const deltas = batch.map((p) => p.chosen - p.rejected - (p.refChosen - p.refRejected));
        const { losses } = dpoLoss(input, { beta, labelSmoothing: e });
        values(losses).forEach((found, i) => {
          const expected = loss(deltas[i]!, beta, e);
          expect(Math.abs(found - expected)).toBeLessThanOrEqual(1e-5 * Math.max(1, Math.abs(expected), beta * 10));
        });
        const h = 1e-4;
        const slopes = deltas.map((d) => (loss(d + h, beta, e) - loss(d - h, beta, e)) / (2 * h));
        const [chosen, rejected, refChosen, refRejected] = gradients(input, { beta, labelSmoothing: e });
        const tolerance = 2e-5 * Math.max(1, beta * beta);
        expect(maxDifference(chosen!, slopes)).toBeLessThan(tolerance);
        expect(maxDifference(refRejected!, slopes)).toBeLessThan(tolerance);
        expect(
          maxDifference(
            rejected!,
            slopes.map((x) => -x),
          ),
        ).toBeLessThan(tolerance);
        expect(
          maxDifference(
            refChosen!,
            slopes.map((x) => -x),
          ),
        ).toBeLessThan(tolerance);
      }),
    );
  });

  it('negates Δ, margins and rewards with chosen and rejected swapped', () => {
    fc.assert(
      fc.property(scoredPairs, (batch) => {
        const [c, r, rc, rr] = [
          batch.map((p) => p.chosen),
          batch.map((p) => p.rejected),
          batch.map((p) => p.refChosen),
          batch.map((p) => p.refRejected),
        ];
        const straight = dpoLoss(logps(c, r, rc, rr));
        const swapped = dpoLoss(logps(r, c, rr, rc));
        expect(values(tf.add(straight.deltas, swapped.deltas)).every((x) => x === 0)).toBe(true);
        expect(values(tf.add(straight.margins, swapped.margins)).every((x) => x === 0)).toBe(true);
        expect(values(swapped.chosenRewards)).toEqual(values(straight.rejectedRewards));
      }),
    );
  });

  it('is log 2 where the policy equals its reference', () => {
    const { losses, deltas } = dpoLoss(logps([-3, -700], [-5, -1], [-3, -700], [-5, -1]));
    expect(values(deltas)).toEqual([0, 0]);
    for (const loss of values(losses)) expect(loss).toBeCloseTo(Math.LN2, 6);
  });

  it('is exact for large margins of both signs', () => {
    // −log σ(20) = log(1 + e⁻²⁰) = 2.0611536e-9; −log σ(−1e4) = 1e4
    const { losses } = dpoLoss(logps([0, -1e4], [-20, 0], [0, 0], [0, 0]), { beta: 1 });
    const [small, large] = values(losses);
    expect(small! / 2.0611536e-9).toBeCloseTo(1, 5);
    expect(large).toBe(1e4);
  });

  it('has no NaN for answers of log-probability −∞', () => {
    const out = Number.NEGATIVE_INFINITY;
    const input = () =>
      logps([out, -1, out, out, out], [-1, out, -1, out, out], [-1, -1, out, -1, out], [-1, -1, -1, -1, out]);
    for (const labelSmoothing of [0, 0.2]) {
      const result = dpoLoss(input(), { beta: 0.1, labelSmoothing });
      expect(values(result.deltas)).toEqual([out, -out, 0, 0, 0]);
      for (const tensor of Object.values(result)) expect(values(tensor).some(Number.isNaN)).toBe(false);
      for (const gradient of gradients(input(), { beta: 0.1, labelSmoothing })) {
        expect(gradient.every(Number.isFinite)).toBe(true);
      }
    }
  });

  it('has no gradient through rewards and margins', () => {
    const { chosenLogps: x, ...rest } = moved();
    for (const name of ['chosenRewards', 'margins'] as const) {
      const gradient = tf.grad((chosenLogps) => dpoLoss({ ...rest, chosenLogps: chosenLogps as tf.Tensor1D })[name])(x);
      expect(values(gradient)).toEqual([0]);
    }
    const throughDelta = tf.grad((chosenLogps) => dpoLoss({ ...rest, chosenLogps: chosenLogps as tf.Tensor1D }).deltas);
    expect(values(throughDelta(x))).toEqual([1]);
  });

  it('reports wrong input', () => {
    expect(() => dpoLoss(moved(), { beta: 0 })).toThrow('dpoLoss: beta: expected a finite number above 0, found 0.');
    for (const beta of [-1, Number.NaN, Number.POSITIVE_INFINITY])
      expect(() => dpoLoss(moved(), { beta })).toThrow('beta: expected a finite number above 0, found ');
    for (const labelSmoothing of [-0.1, 0.51, Number.NaN]) {
      expect(() => dpoLoss(moved(), { labelSmoothing })).toThrow(
        `dpoLoss: labelSmoothing: expected a number from 0 to 0.5, found ${labelSmoothing}.`,
      );
    }
    expect(() => dpoLoss({ ...moved(), refChosenLogps: tf.tensor1d([1, 2]) })).toThrow(
      'dpoLoss: refChosenLogps: expected shape [1], found [2].',
    );
    const { refRejectedLogps: _, ...three } = moved();
    expect(() => dpoLoss(three as PreferenceLogps)).toThrow(
      'dpoLoss: refRejectedLogps: expected a tfjs tensor of shape [1], found none.',
    );
    expect(() => dpoLoss(logps([], [], [], []))).toThrow(
      'dpoLoss: chosenLogps: expected at least one pair, found shape [0]. Skip empty batches.',
    );
  });

  it('allocates no tensor other than its results', () => {
    const input = moved();
    const before = tf.memory().numTensors;
    tf.dispose(dpoLoss(input));
    expect(tf.memory().numTensors).toBe(before);
  });
});

type Batch = { chosen: number; rejected: number; refChosen: number; refRejected: number; weight: number }[];

const tensors = (batch: Batch): WpoLossInput => ({
  chosenLogps: tf.tensor1d(batch.map((p) => p.chosen)),
  rejectedLogps: tf.tensor1d(batch.map((p) => p.rejected)),
  refChosenLogps: tf.tensor1d(batch.map((p) => p.refChosen)),
  refRejectedLogps: tf.tensor1d(batch.map((p) => p.refRejected)),
  weights: tf.tensor1d(batch.map((p) => p.weight)),
});

/** With respect to chosen and rejected log-probs. */
const wpoGradients = (input: WpoLossInput, f: (input: WpoLossInput) => tf.Tensor) =>
  tf
    .grads((c, r) => f({ ...input, chosenLogps: c as tf.Tensor1D, rejectedLogps: r as tf.Tensor1D }))([
      input.chosenLogps,
      input.rejectedLogps,
    ])
    .map(values);

describe('wpoLoss', () => {
  it('equals a loss computed by hand', () => {
    // w = 0.25; Δ = 2, βΔ = 1: 0.25 · 0.313262 = 0.078315
    const input = tensors([{ chosen: -1, rejected: -3, refChosen: -2, refRejected: -2, weight: 0.25 }]);
    const result = wpoLoss(input, { beta: 0.5 });
    expect(values(result.losses)[0]).toBeCloseTo(0.078315, 6);
    expect(values(result.dpoLosses)[0]).toBeCloseTo(0.313262, 6);
    expect(values(result.weights)).toEqual([0.25]);
    expect(values(result.margins)).toEqual([1]);
    // 0.25 · −0.134471 = −0.033618
    const [chosen, rejected] = wpoGradients(input, (x) => wpoLoss(x, { beta: 0.5 }).losses);
    expect(chosen![0]).toBeCloseTo(-0.033618, 6);
    expect(rejected![0]).toBeCloseTo(0.033618, 6);
  });

  it('equals DPO in values and gradients where every weight is 1', () => {
    fc.assert(
      fc.property(scoredPairs, beta, labelSmoothing, (batch, beta, labelSmoothing) => {
        const input = tensors(batch.map((pair) => ({ ...pair, weight: 1 })));
        const options = { beta, labelSmoothing };
        expect(values(wpoLoss(input, options).losses)).toEqual(values(dpoLoss(input, options).losses));
        expect(wpoGradients(input, (x) => wpoLoss(x, options).losses)).toEqual(
          wpoGradients(input, (x) => dpoLoss(x, options).losses),
        );
      }),
    );
  });

  it('equals the weight times DPO in values and gradients', () => {
    fc.assert(
      fc.property(scoredPairs, beta, labelSmoothing, (batch, beta, labelSmoothing) => {
        const input = tensors(batch);
        const options = { beta, labelSmoothing };
        const { weights: _, ...unweighted } = input;
        const times = (xs: number[]) => xs.map((x, i) => Math.fround(x * batch[i]!.weight));
        expect(values(wpoLoss(input, options).losses)).toEqual(times(values(dpoLoss(unweighted, options).losses)));
        const weighted = wpoGradients(input, (x) => wpoLoss(x, options).losses).flat();
        const expected = wpoGradients(input, ({ weights: _, ...x }) => dpoLoss(x, options).losses).flatMap(times);
        // the two terms of a smoothed loss are weighted before or after they are added, which rounds differently in float32
        for (const [i, x] of weighted.entries()) expect(Math.abs(x - expected[i]!)).toBeLessThanOrEqual(beta * 2e-7);
      }),
    );
  });

  it('has the same weights and −Δ with chosen and rejected swapped', () => {
    fc.assert(
      fc.property(scoredPairs, (batch) => {
        const straight = wpoLoss(tensors(batch));
        const swapped = wpoLoss(
          tensors(
            batch.map(({ chosen, rejected, refChosen, refRejected, weight }) => ({
              chosen: rejected,
              rejected: chosen,
              refChosen: refRejected,
              refRejected: refChosen,
              weight,
            })),
          ),
        );
        expect(values(swapped.weights)).toEqual(values(straight.weights));
        expect(values(tf.add(straight.deltas, swapped.deltas)).every((x) => x === 0)).toBe(true);
      }),
    );
  });

  it('holds weights constant even where they depend on the same log-probs', () => {
    const pair = {
      chosen: answerBatch([answerOf([{ p: 0.3, ps: [0.3, 0.7] }])]),
      rejected: answerBatch([answerOf([{ p: 0.6, ps: [0.6, 0.4] }])]),
    };
    const { logps } = pair.chosen;
    const rest = {
      rejectedLogps: tf.tensor1d([Math.log(0.6)]),
      refChosenLogps: tf.tensor1d([-1]),
      refRejectedLogps: tf.tensor1d([-1]),
    };
    const loss = (weightsOf: (x: tf.Tensor2D) => tf.Tensor1D) => (x: tf.Tensor) =>
      wpoLoss({ ...rest, chosenLogps: tf.sum(x, 1), weights: weightsOf(x as tf.Tensor2D) }).losses;
    const attached = tf.grad(loss((x) => wpoWeights({ ...pair, chosen: { ...pair.chosen, logps: x } })))(logps);
    const constant = wpoWeights(pair);
    expect(values(attached)).toEqual(values(tf.grad(loss(() => constant))(logps)));
    // weights that are not wpoWeights' are held constant too: its own log-prob as a weight changes nothing
    const own = tf.grad(loss((x) => tf.squeeze(tf.neg(x), [1])))(logps);
    const held = tf.squeeze<tf.Tensor1D>(tf.neg(logps), [1]);
    expect(values(own)).toEqual(values(tf.grad(loss(() => held))(logps)));
    const { weights: given, ...others } = tensors([
      { chosen: -1, rejected: -1, refChosen: -1, refRejected: -1, weight: 2 },
    ]);
    const returned = tf.grad((weights) => wpoLoss({ ...others, weights: weights as tf.Tensor1D }).weights);
    expect(values(returned(given))).toEqual([0]);
  });

  it('has loss 0 and gradient 0 for a pair of weight 0, even where DPO’s loss is infinite', () => {
    const out = Number.NEGATIVE_INFINITY;
    const input = tensors([{ chosen: out, rejected: -1, refChosen: -1, refRejected: -1, weight: 0 }]);
    expect(values(wpoLoss(input).dpoLosses)).toEqual([Number.POSITIVE_INFINITY]);
    expect(values(wpoLoss(input).losses)).toEqual([0]);
    const [chosen, rejected] = wpoGradients(input, (x) => wpoLoss(x).losses);
    expect([chosen![0]! + 0, rejected![0]! + 0]).toEqual([0, 0]);
  });

  it('is NaN for a NaN log-prob even with weight 0', () => {
    const input = tensors([{ chosen: Number.NaN, rejected: -1, refChosen: -1, refRejected: -1, weight: 0 }]);
    expect(values(wpoLoss(input).losses)).toEqual([Number.NaN]);
  });

  it('reports wrong input', () => {
    const input = tensors([{ chosen: -1, rejected: -1, refChosen: -1, refRejected: -1, weight: 1 }]);
    expect(() => wpoLoss({ ...input, weights: tf.tensor1d([1, 1]) })).toThrow(
      'wpoLoss: weights: expected shape [1], found [2].',
    );
    expect(() => wpoLoss(input, { beta: -1 })).toThrow('wpoLoss: beta: expected a finite number above 0, found -1.');
    expect(() => wpoLoss(input, { labelSmoothing: 1 })).toThrow(
      'wpoLoss: labelSmoothing: expected a number from 0 to 0.5, found 1.',
    );
  });

  it('allocates no tensor other than its results, which include a copy of the weights', () => {
    const input = tensors([{ chosen: -1, rejected: -2, refChosen: -1, refRejected: -1, weight: 1 }]);
    const before = tf.memory().numTensors;
    tf.dispose(wpoLoss(input));
    expect(tf.memory().numTensors).toBe(before);
    expect(values(input.weights)).toEqual([1]);
  });
});
