import '@tensorflow/tfjs';
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { dpoLoss, type PreferenceLogps } from '../src/index';
import { beta, labelSmoothing, scoredPairs } from './arbitraries';
import { maxDifference, values } from './tensors';

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
  it('meets a loss worked by hand', () => {
    const result = dpoLoss(moved(), { beta: 0.5 });
    // βΔ = 1; −log σ(1) = log(1 + e⁻¹) = 0.313262
    expect(values(result.losses)[0]).toBeCloseTo(0.313262, 6);
    expect(values(result.deltas)).toEqual([2]);
    expect(values(result.chosenRewards)).toEqual([0.5]);
    expect(values(result.rejectedRewards)).toEqual([-0.5]);
    expect(values(result.margins)).toEqual([1]);
  });

  it('smooths labels', () => {
    // 0.9 · 0.313262 + 0.1 · 1.313262 = 0.413262
    expect(values(dpoLoss(moved(), { beta: 0.5, labelSmoothing: 0.1 }).losses)[0]).toBeCloseTo(0.413262, 6);
  });

  it('takes beta 0.1 and no smoothing where nothing is said', () => {
    expect(values(dpoLoss(moved()).losses)[0]).toBeCloseTo(Math.log1p(Math.exp(-0.2)), 6);
  });

  it('meets gradients worked by hand', () => {
    // −β σ(−1) = −0.5 · 0.268941 = −0.134471
    const [chosen, rejected, refChosen, refRejected] = gradients(moved(), { beta: 0.5 });
    expect(chosen![0]).toBeCloseTo(-0.134471, 6);
    expect(rejected![0]).toBeCloseTo(0.134471, 6);
    expect(refChosen![0]).toBeCloseTo(0.134471, 6);
    expect(refRejected![0]).toBeCloseTo(-0.134471, 6);
    // β (ε σ(1) − (1−ε) σ(−1)) = 0.5 (0.1 · 0.731059 − 0.9 · 0.268941) = −0.084471
    expect(gradients(moved(), { beta: 0.5, labelSmoothing: 0.1 })[0]![0]).toBeCloseTo(-0.084471, 6);
  });

  it('agrees with finite differences of the formula in doubles', () => {
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
          const wanted = loss(deltas[i]!, beta, e);
          expect(Math.abs(found - wanted)).toBeLessThanOrEqual(1e-5 * Math.max(1, Math.abs(wanted), beta * 10));
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

  it('is log 2 for a policy that is still its reference', () => {
    const { losses, deltas } = dpoLoss(logps([-3, -700], [-5, -1], [-3, -700], [-5, -1]));
    expect(values(deltas)).toEqual([0, 0]);
    for (const loss of values(losses)) expect(loss).toBeCloseTo(Math.LN2, 6);
  });

  it('stays exact far out on both sides', () => {
    // −log σ(20) = log(1 + e⁻²⁰) = 2.0611536e-9; −log σ(−1e4) = 1e4
    const { losses } = dpoLoss(logps([0, -1e4], [-20, 0], [0, 0], [0, 0]), { beta: 1 });
    const [small, large] = values(losses);
    expect(small! / 2.0611536e-9).toBeCloseTo(1, 5);
    expect(large).toBe(1e4);
  });

  it('gives no NaN for answers ruled out', () => {
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

  it('passes no gradient through rewards and margins', () => {
    const { chosenLogps: x, ...rest } = moved();
    for (const name of ['chosenRewards', 'margins'] as const) {
      const gradient = tf.grad((chosenLogps) => dpoLoss({ ...rest, chosenLogps: chosenLogps as tf.Tensor1D })[name])(x);
      expect(values(gradient)).toEqual([0]);
    }
    const throughDelta = tf.grad((chosenLogps) => dpoLoss({ ...rest, chosenLogps: chosenLogps as tf.Tensor1D }).deltas);
    expect(values(throughDelta(x))).toEqual([1]);
  });

  it('says what is wrong with its input', () => {
    expect(() => dpoLoss(moved(), { beta: 0 })).toThrow('dpoLoss: beta is 0, but a finite number above 0 was wanted');
    for (const beta of [-1, Number.NaN, Number.POSITIVE_INFINITY])
      expect(() => dpoLoss(moved(), { beta })).toThrow('beta is');
    for (const labelSmoothing of [-0.1, 0.51, Number.NaN]) {
      expect(() => dpoLoss(moved(), { labelSmoothing })).toThrow(
        `dpoLoss: labelSmoothing is ${labelSmoothing}, but 0 to 0.5 was wanted`,
      );
    }
    expect(() => dpoLoss({ ...moved(), refChosenLogps: tf.tensor1d([1, 2]) })).toThrow(
      'dpoLoss: refChosenLogps has shape [2], but [1] was wanted.',
    );
    const { refRejectedLogps: _, ...three } = moved();
    expect(() => dpoLoss(three as PreferenceLogps)).toThrow('dpoLoss: refRejectedLogps is missing');
    expect(() => dpoLoss(logps([], [], [], []))).toThrow(
      'dpoLoss: chosenLogps has shape [0]: there are no pairs in it.',
    );
  });

  it('leaves no tensor behind but its results', () => {
    const input = moved();
    const before = tf.memory().numTensors;
    tf.dispose(dpoLoss(input));
    expect(tf.memory().numTensors).toBe(before);
  });
});
