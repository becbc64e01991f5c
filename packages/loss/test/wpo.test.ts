import '@tensorflow/tfjs';
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { dpoLoss, type WpoLossInput, wpoLoss, wpoWeights } from '../src/index';
import { beta, labelSmoothing, scoredPairs } from './arbitraries';
import { answerBatch, answerOf, values } from './tensors';

type Batch = { chosen: number; rejected: number; refChosen: number; refRejected: number; weight: number }[];

const tensors = (batch: Batch): WpoLossInput => ({
  chosenLogps: tf.tensor1d(batch.map((p) => p.chosen)),
  rejectedLogps: tf.tensor1d(batch.map((p) => p.rejected)),
  refChosenLogps: tf.tensor1d(batch.map((p) => p.refChosen)),
  refRejectedLogps: tf.tensor1d(batch.map((p) => p.refRejected)),
  weights: tf.tensor1d(batch.map((p) => p.weight)),
});

/** With respect to chosen and rejected log-probs. */
const gradients = (input: WpoLossInput, f: (input: WpoLossInput) => tf.Tensor) =>
  tf
    .grads((c, r) => f({ ...input, chosenLogps: c as tf.Tensor1D, rejectedLogps: r as tf.Tensor1D }))([
      input.chosenLogps,
      input.rejectedLogps,
    ])
    .map(values);

describe('wpoLoss', () => {
  it('meets a loss worked by hand', () => {
    // w = 0.25; Δ = 2, βΔ = 1: 0.25 · 0.313262 = 0.078315
    const input = tensors([{ chosen: -1, rejected: -3, refChosen: -2, refRejected: -2, weight: 0.25 }]);
    const result = wpoLoss(input, { beta: 0.5 });
    expect(values(result.losses)[0]).toBeCloseTo(0.078315, 6);
    expect(values(result.dpoLosses)[0]).toBeCloseTo(0.313262, 6);
    expect(values(result.weights)).toEqual([0.25]);
    expect(values(result.margins)).toEqual([1]);
    // 0.25 · −0.134471 = −0.033618
    const [chosen, rejected] = gradients(input, (x) => wpoLoss(x, { beta: 0.5 }).losses);
    expect(chosen![0]).toBeCloseTo(-0.033618, 6);
    expect(rejected![0]).toBeCloseTo(0.033618, 6);
  });

  it('is DPO exactly, in values and gradients, where every weight is 1', () => {
    fc.assert(
      fc.property(scoredPairs, beta, labelSmoothing, (batch, beta, labelSmoothing) => {
        const input = tensors(batch.map((pair) => ({ ...pair, weight: 1 })));
        const options = { beta, labelSmoothing };
        expect(values(wpoLoss(input, options).losses)).toEqual(values(dpoLoss(input, options).losses));
        expect(gradients(input, (x) => wpoLoss(x, options).losses)).toEqual(
          gradients(input, (x) => dpoLoss(x, options).losses),
        );
      }),
    );
  });

  it('is the weight times DPO, in values and gradients', () => {
    fc.assert(
      fc.property(scoredPairs, beta, labelSmoothing, (batch, beta, labelSmoothing) => {
        const input = tensors(batch);
        const options = { beta, labelSmoothing };
        const { weights: _, ...unweighted } = input;
        const times = (xs: number[]) => xs.map((x, i) => Math.fround(x * batch[i]!.weight));
        expect(values(wpoLoss(input, options).losses)).toEqual(times(values(dpoLoss(unweighted, options).losses)));
        const weighted = gradients(input, (x) => wpoLoss(x, options).losses).flat();
        const wanted = gradients(input, ({ weights: _, ...x }) => dpoLoss(x, options).losses).flatMap(times);
        // both sides of a smoothed loss are weighed before they are added up, or after: float32's rounding apart, the same
        for (const [i, x] of weighted.entries()) expect(Math.abs(x - wanted[i]!)).toBeLessThanOrEqual(beta * 2e-7);
      }),
    );
  });

  it('keeps the weights and negates Δ with chosen and rejected swapped', () => {
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

  it('lets no gradient through weights that hang on the same log-probs', () => {
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

  it('counts a pair of weight 0 as loss 0 and gradient 0, even where DPO’s loss is infinite', () => {
    const out = Number.NEGATIVE_INFINITY;
    const input = tensors([{ chosen: out, rejected: -1, refChosen: -1, refRejected: -1, weight: 0 }]);
    expect(values(wpoLoss(input).dpoLosses)).toEqual([Number.POSITIVE_INFINITY]);
    expect(values(wpoLoss(input).losses)).toEqual([0]);
    const [chosen, rejected] = gradients(input, (x) => wpoLoss(x).losses);
    expect([chosen![0]! + 0, rejected![0]! + 0]).toEqual([0, 0]);
  });

  it('does not hide NaN behind a weight of 0', () => {
    const input = tensors([{ chosen: Number.NaN, rejected: -1, refChosen: -1, refRejected: -1, weight: 0 }]);
    expect(values(wpoLoss(input).losses)).toEqual([Number.NaN]);
  });

  it('says what is wrong with its input', () => {
    const input = tensors([{ chosen: -1, rejected: -1, refChosen: -1, refRejected: -1, weight: 1 }]);
    expect(() => wpoLoss({ ...input, weights: tf.tensor1d([1, 1]) })).toThrow(
      'wpoLoss: weights has shape [2], but [1] was wanted.',
    );
    expect(() => wpoLoss(input, { beta: -1 })).toThrow('wpoLoss: beta is -1');
    expect(() => wpoLoss(input, { labelSmoothing: 1 })).toThrow('wpoLoss: labelSmoothing is 1');
  });

  it('leaves no tensor behind but its results, and its weights are a tensor of its own', () => {
    const input = tensors([{ chosen: -1, rejected: -2, refChosen: -1, refRejected: -1, weight: 1 }]);
    const before = tf.memory().numTensors;
    tf.dispose(wpoLoss(input));
    expect(tf.memory().numTensors).toBe(before);
    expect(values(input.weights)).toEqual([1]);
  });
});
