import '@tensorflow/tfjs';
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { wpoLoss, wpoWeights } from '../src/index';
import { batch, pairs } from './arbitraries';
import { close } from './close';
import { answerBatch, values } from './tensors';

describe('weights', () => {
  const tokensOf = (
    drawn: { chosen: Parameters<typeof answerBatch>[0][number]; rejected: Parameters<typeof answerBatch>[0][number] }[],
  ) => ({
    chosen: answerBatch(
      drawn.map((pair) => pair.chosen),
      Number.NaN,
    ),
    rejected: answerBatch(
      drawn.map((pair) => pair.rejected),
      Number.NaN,
    ),
  });

  it('go to 1 as the temperature rises, and are w^(1/τ) unclamped', () => {
    fc.assert(
      fc.property(pairs, fc.double({ min: 0.25, max: 8, noNaN: true }), (drawn, temperature) => {
        const tokens = tokensOf(drawn);
        const plainWeights = values(wpoWeights(tokens, { clamp: false }));
        close(
          values(wpoWeights(tokens, { clamp: false, temperature })),
          plainWeights.map((w) => w ** (1 / temperature)),
        );
        for (const weight of values(wpoWeights(tokens, { temperature: 1e9 }))) expect(weight).toBeCloseTo(1, 6);
      }),
      { numRuns: 30 },
    );
  });

  it('have, attached, the gradient w / τ by each score where they are below 1, and none where they are clamped', () => {
    const answer = (logp: number) => ({ logps: [logp, logp], logSumSquares: [-1, -1], logMax: [0, 0] });
    const tokens = tokensOf([
      { chosen: answer(-1.5), rejected: answer(-1.75) },
      { chosen: answer(-0.5), rejected: answer(-0.5) },
    ]);
    const gradient = tf.grad((x) =>
      wpoWeights(
        { ...tokens, chosen: { ...tokens.chosen, logps: x as tf.Tensor2D } },
        { attached: true, temperature: 2 },
      ),
    )(tokens.chosen.logps);
    // s = −½ − ¾; w = e^(−5/8); dw / dl = w / 2 · ½
    const slope = Math.exp(-0.625) / 4;
    close(values(gradient), [slope, slope, 0, 0]);
  });

  it('of a batch’s pairs change nothing but the factor, attached or not', () => {
    fc.assert(
      fc.property(batch, fc.boolean(), (columns, attached) => {
        const input = Object.fromEntries(
          Object.entries(columns).map(([name, xs]) => [name, typeof xs === 'number' ? xs : tf.tensor1d(xs)]),
        ) as unknown as Parameters<typeof wpoLoss>[0];
        const { losses, dpoLosses, weights } = wpoLoss(input, { attached });
        expect(values(losses)).toEqual(values(dpoLosses).map((loss, i) => Math.fround(loss * values(weights)[i]!)));
      }),
      { numRuns: 30 },
    );
  });

  it('hand, attached, the loss itself back as their gradient', () => {
    const logps = { chosenLogps: [-1], rejectedLogps: [-3], refChosenLogps: [-2], refRejectedLogps: [-2] };
    const input = Object.fromEntries(Object.entries(logps).map(([name, xs]) => [name, tf.tensor1d(xs)])) as Record<
      keyof typeof logps,
      tf.Tensor1D
    >;
    const gradient = (attached: boolean) =>
      values(
        tf.grad((w) => wpoLoss({ ...input, weights: w as tf.Tensor1D }, { beta: 0.5, attached }).losses)(
          tf.tensor1d([0.25]),
        ),
      )[0];
    expect(gradient(true)).toBeCloseTo(0.313262, 6);
    expect(gradient(false)).toBe(0);
  });
});
