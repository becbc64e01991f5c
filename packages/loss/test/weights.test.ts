import '@tensorflow/tfjs';
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Alignment, type AnswerTokens, wpoLoss, wpoWeights } from '../src/index';
import { batch, pairs } from './arbitraries';
import { type Answer, answerBatch, answerOf, close, maxDifference, values } from './tensors';

const alignments = fc.constantFrom<Alignment>('sampled', 'greedy', 'none');
const likely = answerOf([{ p: 0.8, ps: [0.8, 0.2] }]);
const unlikely = answerOf([{ p: 0.2, ps: [0.8, 0.2] }]);
const weigh = (batch: readonly { chosen: Answer; rejected: Answer }[], alignment?: Alignment, clamp = true) =>
  values(
    wpoWeights(
      { chosen: answerBatch(batch.map((p) => p.chosen)), rejected: answerBatch(batch.map((p) => p.rejected)) },
      { alignment, clamp },
    ),
  );

describe('wpoWeights', () => {
  it.each([
    // 0.8 · 0.2 / 0.68² = 0.346021
    ['sampled', 0.346021],
    // 0.8 · 0.2 / 0.8² = 0.25
    ['greedy', 0.25],
    // 0.8 · 0.2 = 0.16
    ['none', 0.16],
  ] as const)('is the product of both answers’ aligned probabilities under %s alignment', (alignment, expected) => {
    expect(weigh([{ chosen: likely, rejected: unlikely }], alignment)[0]).toBeCloseTo(expected, 6);
  });

  it('uses the geometric mean over an answer’s tokens', () => {
    const both = answerOf([
      { p: 0.8, ps: [0.8, 0.2] },
      { p: 0.2, ps: [0.8, 0.2] },
    ]);
    // √(0.8 · 0.2) / 0.68 · 0.2 / 0.68 = 0.173010
    expect(weigh([{ chosen: both, rejected: unlikely }])[0]).toBeCloseTo(0.17301, 6);
  });

  it('is clamped at 1 unless clamp is false', () => {
    // (0.8 / 0.68)² = 1.384083
    expect(weigh([{ chosen: likely, rejected: likely }])).toEqual([1]);
    expect(weigh([{ chosen: likely, rejected: likely }], 'sampled', false)[0]).toBeCloseTo(1.384083, 6);
  });

  it.each(['sampled', 'greedy'] as const)('is 1 where the policy is uniform, under %s alignment', (alignment) => {
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 50 }), fc.integer({ min: 1, max: 9 }), (vocabulary, length) => {
        const ps = Array<number>(vocabulary).fill(1 / vocabulary);
        const uniform = answerOf(Array(length).fill({ p: 1 / vocabulary, ps }));
        for (const clamp of [true, false]) {
          expect(weigh([{ chosen: uniform, rejected: uniform }], alignment, clamp)[0]).toBeCloseTo(1, 6);
        }
      }),
    );
  });

  it('is above 0 and at most 1', () => {
    fc.assert(
      fc.property(pairs, alignments, (batch, alignment) => {
        for (const weight of weigh(batch, alignment)) {
          expect(weight).toBeGreaterThan(0);
          expect(weight).toBeLessThanOrEqual(1);
        }
      }),
    );
  });

  it('is the same with chosen and rejected swapped', () => {
    fc.assert(
      fc.property(pairs, alignments, fc.boolean(), (batch, alignment, clamp) => {
        const swapped = batch.map(({ chosen, rejected }) => ({ chosen: rejected, rejected: chosen }));
        expect(weigh(swapped, alignment, clamp)).toEqual(weigh(batch, alignment, clamp));
      }),
    );
  });

  it('does not change with padding of any value', () => {
    const junk = fc.constantFrom(0, 7, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY);
    fc.assert(
      fc.property(pairs, alignments, junk, fc.nat(4), (batch, alignment, junk, more) => {
        const chosen = answerBatch(
          batch.map((p) => p.chosen),
          junk,
          more,
        );
        const rejected = answerBatch(
          batch.map((p) => p.rejected),
          junk,
        );
        const padded = values(wpoWeights({ chosen, rejected }, { alignment }));
        const alone = batch.flatMap((pair) => weigh([pair], alignment));
        expect(maxDifference(padded, alone)).toBeLessThan(1e-6);
      }),
    );
  });

  it('does not depend on the order of the batch', () => {
    fc.assert(
      fc.property(
        pairs.chain((batch) =>
          fc.tuple(fc.constant(batch), fc.shuffledSubarray([...batch.keys()], { minLength: batch.length })),
        ),
        alignments,
        ([batch, order], alignment) => {
          const weights = weigh(batch, alignment);
          const reordered = weigh(
            order.map((i) => batch[i]!),
            alignment,
          );
          expect(
            maxDifference(
              reordered,
              order.map((i) => weights[i]!),
            ),
          ).toBeLessThan(1e-6);
        },
      ),
    );
  });

  it('has no gradient', () => {
    fc.assert(
      fc.property(pairs, fc.boolean(), (batch, clamp) => {
        const chosen = answerBatch(
          batch.map((p) => p.chosen),
          Number.NaN,
        );
        const rejected = answerBatch(
          batch.map((p) => p.rejected),
          Number.NaN,
        );
        const gradients = tf.grads((...[a, b, c, d]: tf.Tensor[]) =>
          wpoWeights(
            {
              chosen: { ...chosen, logps: a as tf.Tensor2D, logSumSquares: b as tf.Tensor2D },
              rejected: { ...rejected, logps: c as tf.Tensor2D, logSumSquares: d as tf.Tensor2D },
            },
            { clamp },
          ),
        )([chosen.logps, chosen.logSumSquares, rejected.logps, rejected.logSumSquares]);
        for (const gradient of gradients) expect(values(gradient).every((x) => x === 0)).toBe(true);
      }),
    );
  });

  it('is NaN, not 1, where a log-prob is NaN', () => {
    expect(weigh([{ chosen: { ...likely, logps: [Number.NaN] }, rejected: likely }])).toEqual([Number.NaN]);
  });

  it('is 0, not NaN, for an answer of log-probability −∞', () => {
    const ruledOut = { ...likely, logps: [Number.NEGATIVE_INFINITY] };
    expect(weigh([{ chosen: ruledOut, rejected: ruledOut }])).toEqual([0]);
  });

  it('reports which answer is wrong', () => {
    const tokens = (rows: number): AnswerTokens => answerBatch(Array(rows).fill(likely));
    expect(() => wpoWeights({ chosen: tokens(2), rejected: tokens(3) })).toThrow(
      'wpoWeights: rejected: expected 2 answers, as many as chosen, found 3.',
    );
    const { logps, mask } = tokens(2);
    expect(() => wpoWeights({ chosen: tokens(2), rejected: { logps, mask } })).toThrow(
      "wpoWeights: rejected.logSumSquares: expected a tensor for alignment 'sampled', found none.",
    );
    expect(() => wpoWeights({ chosen: tokens(2), rejected: tokens(2) }, { alignment: 'nome' as Alignment })).toThrow(
      "wpoWeights: alignment: expected one of sampled, greedy, none, found 'nome'.",
    );
    expect(() => wpoWeights({ chosen: { ...tokens(2), mask: tf.ones([1]) }, rejected: tokens(2) })).toThrow(
      'wpoWeights: chosen.mask: expected shape [2,1], found [1].',
    );
  });

  it('allocates no tensor other than its result', () => {
    const pair = { chosen: answerBatch([likely, unlikely]), rejected: answerBatch([unlikely, likely]) };
    const before = tf.memory().numTensors;
    wpoWeights(pair).dispose();
    expect(tf.memory().numTensors).toBe(before);
  });
});

describe('the properties of weights', () => {
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

  it('converge to 1 as the temperature rises, and are w^(1/τ) without the clamp', () => {
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

  it('have, if attached, the derivative w / τ by each score below 1, and 0 where they are clamped', () => {
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

  it('are a factor of the losses, attached or not', () => {
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

  it('have, if attached, the unweighted loss as their gradient', () => {
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
