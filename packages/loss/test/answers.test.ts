import '@tensorflow/tfjs';
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Alignment, answerScores, ldLogps, sumLogps } from '../src/index';
import * as scalar from '../src/scalar/index';
import { answer, pairs } from './arbitraries';
import { answerBatch, answerOf, matrix, maxDifference, values } from './tensors';

const ALIGNMENTS: Alignment[] = ['sampled', 'greedy', 'none'];

// Two tokens of probability 0.8 and 0.2 in [0.8, 0.2]; one of 0.5 in [0.5, 0.5].
const batch = () =>
  answerBatch(
    [
      answerOf([
        { p: 0.8, ps: [0.8, 0.2] },
        { p: 0.2, ps: [0.8, 0.2] },
      ]),
      answerOf([{ p: 0.5, ps: [0.5, 0.5] }]),
    ],
    Number.NaN,
  );

describe('sumLogps', () => {
  it('adds up answer tokens and ignores padding', () => {
    // log 0.8 + log 0.2 = log 0.16 = -1.832581; log 0.5 = -log 2
    expect(maxDifference(values(sumLogps(batch())), [-1.832581, -Math.LN2])).toBeLessThan(1e-6);
  });

  it('passes the gradient to each answer token and none to padding', () => {
    const tokens = batch();
    const gradient = tf.grad((logps) => sumLogps({ ...tokens, logps: logps as tf.Tensor2D }))(
      tokens.logps,
      tf.tensor1d([2, 3]),
    );
    expect(values(gradient)).toEqual([2, 2, 3, 0]);
  });

  it.each([Number.NaN, Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY])('ignores %s at padding', (junk) => {
    const tokens = answerBatch([{ logps: [-1, -2], logSumSquares: [0, 0], logMax: [0, 0] }], junk, 2);
    expect(values(sumLogps(tokens))).toEqual([-3]);
  });

  it('takes a mask of any dtype', () => {
    const logps = matrix([[-1, -2, -4]]);
    for (const dtype of ['bool', 'int32', 'float32'] as const) {
      expect(values(sumLogps({ logps, mask: tf.tensor2d([[1, 0, 1]], [1, 3], dtype) }))).toEqual([-5]);
    }
  });
});

describe('answerScores', () => {
  it.each([
    // ½ log(0.8 · 0.2 / 0.68²) = -0.530628, as 0.8² + 0.2² = 0.68; log(0.5 / 0.5) = 0
    ['sampled', [-0.530628, 0]],
    // ½ log(0.8 · 0.2 / 0.8²) = -log 2
    ['greedy', [-Math.LN2, 0]],
    // ½ log 0.16 = -0.916291
    ['none', [-0.916291, -Math.LN2]],
  ] as const)('is the mean of l − a under %s alignment', (alignment, expected) => {
    expect(maxDifference(values(answerScores(batch(), alignment)), expected)).toBeLessThan(1e-6);
  });

  it('uses the sampled alignment by default', () => {
    expect(values(answerScores(batch()))).toEqual(values(answerScores(batch(), 'sampled')));
  });

  it('divides the gradient among answer tokens, with the opposite sign for the alignment term', () => {
    const tokens = batch();
    const [logps, term] = tf.grads((logps, logSumSquares) =>
      answerScores({
        ...tokens,
        logps: logps as tf.Tensor2D,
        logSumSquares: logSumSquares as tf.Tensor2D,
      }),
    )([tokens.logps, tokens.logSumSquares], tf.tensor1d([2, 3]));
    expect(values(logps!)).toEqual([1, 1, 3, 0]);
    expect(values(term!).map((x) => x + 0)).toEqual([-1, -1, -3, 0]);
  });

  it('is at most 0 under greedy alignment, and the mean log-prob under none', () => {
    fc.assert(
      fc.property(answer, (a) => {
        const tokens = answerBatch([a]);
        const mean = a.logps.reduce((sum, l) => sum + l, 0) / a.logps.length;
        expect(values(answerScores(tokens, 'greedy'))[0]).toBeLessThanOrEqual(1e-6);
        expect(values(answerScores(tokens, 'none'))[0]).toBeCloseTo(mean, 5);
      }),
    );
  });

  it('allocates no tensor other than its result', () => {
    const tokens = batch();
    for (const alignment of ALIGNMENTS) {
      const before = tf.memory().numTensors;
      answerScores(tokens, alignment).dispose();
      sumLogps(tokens).dispose();
      expect(tf.memory().numTensors).toBe(before);
    }
  });
});

describe('errors about answers', () => {
  it('list the alignments where one is unknown', () => {
    expect(() => answerScores(batch(), 'sample' as Alignment)).toThrow(
      "answerScores: alignment: expected one of sampled, greedy, none, found 'sample'.",
    );
    expect(() => answerScores(batch(), null as unknown as Alignment)).toThrow("found 'null'");
  });

  it('name the alignment term that is missing', () => {
    const { logps, mask } = batch();
    expect(() => answerScores({ logps, mask })).toThrow(
      "answerScores: logSumSquares: expected a tensor for alignment 'sampled', found none.",
    );
    expect(() => answerScores({ logps, mask }, 'greedy')).toThrow('logMax: expected a tensor');
    expect(values(answerScores({ logps, mask }, 'none'))).toHaveLength(2);
  });

  it('give the expected and the found shape', () => {
    const tokens = batch();
    expect(() => sumLogps({ ...tokens, mask: tf.ones([2, 3]) })).toThrow(
      'sumLogps: mask: expected shape [2,2], found [2,3].',
    );
    expect(() => answerScores({ ...tokens, logSumSquares: matrix([[0, 0]]) })).toThrow(
      'answerScores: logSumSquares: expected shape [2,2], found [1,2].',
    );
    expect(() => sumLogps({ ...tokens, logps: tf.ones([2]) as unknown as tf.Tensor2D })).toThrow(
      'sumLogps: logps: expected shape [pairs, tokens], found [2].',
    );
  });

  it('reject empty answers, empty batches, integers and values that are not tensors', () => {
    const empty = (shape: [number, number]) => ({ logps: tf.zeros<tf.Rank.R2>(shape), mask: tf.zeros(shape) });
    expect(() => sumLogps(empty([2, 0]))).toThrow(
      'sumLogps: logps: expected at least one token, found shape [2,0]. Skip empty batches.',
    );
    expect(() => sumLogps(empty([0, 2]))).toThrow('expected at least one pair, found shape [0,2].');
    expect(() => sumLogps({ ...batch(), logps: tf.ones([2, 2], 'int32') })).toThrow(
      'logps: expected dtype float32, found int32.',
    );
    expect(() => sumLogps({ ...batch(), mask: [[1, 1]] as unknown as tf.Tensor })).toThrow(
      'sumLogps: mask: expected a tfjs tensor of shape [2,2], found a plain array.',
    );
  });
});

describe('ldLogps', () => {
  it('is the plain sum with α = 1, and with any α for answers of equal length', () => {
    fc.assert(
      fc.property(pairs, fc.double({ min: 0, max: 1, noNaN: true }), (drawn, alpha) => {
        const chosen = answerBatch(drawn.map((pair) => pair.chosen));
        const rejected = answerBatch(drawn.map((pair) => pair.rejected));
        const whole = ldLogps({ chosen, rejected }, 1);
        expect(values(whole.chosen)).toEqual(values(sumLogps(chosen)));
        expect(values(whole.rejected)).toEqual(values(sumLogps(rejected)));
        expect(values(ldLogps({ chosen, rejected: chosen }, alpha).chosen)).toEqual(values(sumLogps(chosen)));
      }),
      { numRuns: 30 },
    );
  });

  it('multiplies tokens past the shorter length by α, and ignores them with α = 0', () => {
    // −1 − 2 + ½ (−4) = −5; the rejected answer is not longer
    const pair = { chosen: { logps: [-1, -2, -4] }, rejected: { logps: [-8, -16] } };
    expect(scalar.ldLogps(pair, 0.5)).toEqual({ chosen: -5, rejected: -24 });
    expect(scalar.ldLogps(pair, 0)).toEqual({ chosen: -3, rejected: -24 });
    const out = { chosen: { logps: [-1, Number.NEGATIVE_INFINITY] }, rejected: { logps: [-1] } };
    expect(scalar.ldLogps(out, 0)).toEqual({ chosen: -1, rejected: -1 });
    const zeros = { logSumSquares: [0, 0], logMax: [0, 0] };
    const tensors = {
      chosen: answerBatch([{ ...zeros, logps: out.chosen.logps }]),
      rejected: answerBatch([{ logSumSquares: [0], logMax: [0], logps: [-1] }]),
    };
    expect(values(ldLogps(tensors, 0).chosen)).toEqual([-1]);
  });

  it('counts positions from an answer’s first token, wherever its padding is', () => {
    const mask = tf.tensor2d([[0, 1, 1, 1]]);
    const chosen = { logps: tf.tensor2d([[Number.NaN, -1, -2, -4]]), mask };
    const rejected = { logps: tf.tensor2d([[-8]]), mask: tf.ones([1, 1]) };
    expect(values(ldLogps({ chosen, rejected }, 0.5).chosen)).toEqual([-4]);
  });

  it('allocates no tensor other than its results', () => {
    const answers = answerBatch([{ logps: [-1, -2], logSumSquares: [0, 0], logMax: [0, 0] }]);
    const before = tf.memory().numTensors;
    tf.dispose(ldLogps({ chosen: answers, rejected: answers }, 0.5));
    expect(tf.memory().numTensors).toBe(before);
  });
});
