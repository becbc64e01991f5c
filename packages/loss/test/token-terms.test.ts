import '@tensorflow/tfjs';
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { answerScores, sumLogps, tokenTerms, wpoLoss, wpoWeights } from '../src/index';
import { answerPositions, describe as describeToken, type Position } from './arbitraries';
import { matrix, maxDifference, values } from './tensors';

/** Answers as padded logits, labels and mask; padding holds `junk` logits and the label −100. */
function batchOf(answers: readonly Position[][], junk = 0) {
  const columns = Math.max(...answers.map((answer) => answer.length));
  const vocabulary = answers[0]![0]!.logits.length;
  const padding: Position = { logits: Array(vocabulary).fill(junk), label: -100 };
  const rows = answers.map((answer) => [...answer, ...Array<Position>(columns - answer.length).fill(padding)]);
  return {
    logits: tf.tensor3d(
      rows.flatMap((row) => row.flatMap((p) => p.logits)),
      [rows.length, columns, vocabulary],
    ),
    labels: tf.tensor2d(
      rows.flatMap((row) => row.map((p) => p.label)),
      [rows.length, columns],
      'int32',
    ),
    mask: matrix(answers.map((answer) => rows[0]!.map((_, t) => (t < answer.length ? 1 : 0)))),
  };
}

const hard = (junk?: number) =>
  batchOf(
    [
      [
        { logits: [Math.log(8), Math.log(2)], label: 1 },
        { logits: [0, 0], label: 0 },
      ],
      [{ logits: [1e4, -1e4], label: 0 }],
    ],
    junk,
  );

/** d Σ dy · logps / d logits. */
const logitGradient = ({ logits, labels, mask }: ReturnType<typeof batchOf>, dy: tf.Tensor) =>
  values(tf.grad((x) => tokenTerms(x as tf.Tensor3D, labels, mask).logps)(logits, dy));

describe('tokenTerms', () => {
  it('equals terms computed by hand', () => {
    const { logits, labels, mask } = hard(Number.NaN);
    const terms = tokenTerms(logits, labels, mask);
    // p = [0.8, 0.2], token 1: log 0.2, log 0.68, log 0.8; p = [½, ½]: log ½ three times; p = [1, 0]: 0; padding: 0
    const half = -Math.LN2;
    expect(maxDifference(values(terms.logps), [-1.609438, half, 0, 0])).toBeLessThan(1e-6);
    expect(maxDifference(values(terms.logSumSquares), [-0.385662, half, 0, 0])).toBeLessThan(1e-6);
    expect(maxDifference(values(terms.logMax), [-0.223144, half, 0, 0])).toBeLessThan(1e-6);
    expect(values(terms.mask)).toEqual([1, 1, 1, 0]);
  });

  it('has gradients computed by hand, and none at padding', () => {
    // onehot − p, times dy: 1 · ([0, 1] − [0.8, 0.2]); 2 · ([1, 0] − [½, ½]); 3 · ([1, 0] − [1, 0]); 0
    const expected = [-0.8, 0.8, 1, -1, 0, 0, 0, 0];
    for (const junk of [0, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
      const found = logitGradient(
        hard(junk),
        matrix([
          [1, 2],
          [3, 4],
        ]),
      );
      expect(maxDifference(found, expected)).toBeLessThan(1e-6);
    }
  });

  it('agrees with log-softmax in float64', () => {
    fc.assert(
      fc.property(fc.array(answerPositions(), { minLength: 1, maxLength: 3 }), (answers) => {
        const { logits, labels, mask } = batchOf(answers, Number.NaN);
        const terms = tokenTerms(logits, labels, mask);
        const found = (['logps', 'logSumSquares', 'logMax'] as const).map((name) =>
          values(terms[name]).filter((_, i) => values(mask)[i]),
        );
        const expected = answers.flat().map(describeToken);
        expect(
          maxDifference(
            found[0]!,
            expected.map((w) => w.logp),
          ),
        ).toBeLessThan(5e-6);
        expect(
          maxDifference(
            found[1]!,
            expected.map((w) => w.logSumSquares),
          ),
        ).toBeLessThan(5e-6);
        expect(
          maxDifference(
            found[2]!,
            expected.map((w) => w.logMax),
          ),
        ).toBeLessThan(5e-6);
      }),
    );
  });

  it('agrees with finite differences of log-softmax in float64', () => {
    const h = 1e-5;
    fc.assert(
      fc.property(answerPositions(), (positions) => {
        const batch = batchOf([positions]);
        const found = logitGradient(batch, tf.ones([1, positions.length]));
        const expected = positions.flatMap((position) =>
          position.logits.map((_, v) => {
            const at = (step: number) =>
              describeToken({ ...position, logits: position.logits.map((x, i) => (i === v ? x + step : x)) }).logp;
            return (at(h) - at(-h)) / (2 * h);
          }),
        );
        expect(maxDifference(found, expected)).toBeLessThan(1e-5);
      }),
    );
  });

  it('agrees with tfjs’s own log-softmax and its gradient', () => {
    const { labels, mask } = hard();
    const logits = tf.tensor3d([3, 1, -2, 0.5, 9, 8, -4, 4], [2, 2, 2]);
    const plain = (x: tf.Tensor) =>
      tf.mul(tf.sum(tf.mul(tf.logSoftmax(x), tf.oneHot(tf.relu(labels), 2)), 2), mask) as tf.Tensor2D;
    const dy = matrix([
      [1, -2],
      [0.5, 7],
    ]);
    expect(maxDifference(values(tokenTerms(logits, labels, mask).logps), values(plain(logits)))).toBeLessThan(1e-6);
    expect(maxDifference(logitGradient({ logits, labels, mask }, dy), values(tf.grad(plain)(logits, dy)))).toBeLessThan(
      1e-6,
    );
  });

  it('is exact to the last bit of float32 for logits of ±1e4', () => {
    // log p = 9999.5 − 1e4 − log(1 + e^−0.5) = −0.974077; the log-sum is 0.474077
    const { logits, labels, mask } = batchOf([[{ logits: [1e4, 9999.5, -1e4], label: 1 }]]);
    const terms = tokenTerms(logits, labels, mask);
    expect(values(terms.logps)[0]).toBeCloseTo(-0.974077, 6);
    expect(values(terms.logMax)[0]).toBeCloseTo(-0.474077, 6);
  });

  it('gives vocabulary entries of −∞ probability 0', () => {
    const out = Number.NEGATIVE_INFINITY;
    const ruledOut = batchOf([[{ logits: [Math.log(3), out, 0], label: 0 }]]);
    const without = batchOf([[{ logits: [Math.log(3), 0], label: 0 }]]);
    const [a, b] = [ruledOut, without].map(({ logits, labels, mask }) => tokenTerms(logits, labels, mask));
    for (const name of ['logps', 'logSumSquares', 'logMax'] as const) {
      expect(values(a![name])).toEqual(values(b![name]));
    }
    expect(maxDifference(logitGradient(ruledOut, tf.ones([1, 1])), [0.25, 0, -0.25])).toBeLessThan(1e-6);
    const labelled = batchOf([[{ logits: [0, out], label: 1 }]]);
    expect(values(tokenTerms(labelled.logits, labelled.labels, labelled.mask).logps)).toEqual([out]);
    expect(logitGradient(labelled, tf.ones([1, 1]))).toEqual([-1, 1]);
  });

  it('has no NaN for extreme logits, from logits to the loss and its gradient', () => {
    const logit = fc.oneof(
      fc.constantFrom(1e4, -1e4, 0, Number.NEGATIVE_INFINITY),
      fc.double({ min: -1e4, max: 1e4, noNaN: true }),
    );
    // both models give some token a probability above 0, though not always the label
    const logits = fc.array(logit, { minLength: 4, maxLength: 4 }).filter((row) => row.some(Number.isFinite));
    const answer = fc.array(fc.record({ logits, reference: logits, label: fc.nat(3) }), { minLength: 1, maxLength: 4 });
    const batch = fc.array(fc.tuple(answer, answer), { minLength: 1, maxLength: 3 });
    fc.assert(
      fc.property(batch, fc.constantFrom('sampled', 'greedy', 'none'), fc.boolean(), (pairs, alignment, clamp) => {
        const [chosen, rejected] = [0, 1].map((side) => {
          const answers = pairs.map((pair) => pair[side]!);
          const { labels, mask, logits } = batchOf(answers, Number.NaN);
          const reference = batchOf(
            answers.map((tokens) => tokens.map(({ reference, label }) => ({ logits: reference, label }))),
            Number.NaN,
          );
          return { labels, mask, logits, refLogps: sumLogps(tokenTerms(reference.logits, labels, mask)) };
        });
        const run = (chosenLogits: tf.Tensor, rejectedLogits: tf.Tensor) => {
          const terms = {
            chosen: tokenTerms(chosenLogits as tf.Tensor3D, chosen!.labels, chosen!.mask),
            rejected: tokenTerms(rejectedLogits as tf.Tensor3D, rejected!.labels, rejected!.mask),
          };
          const result = wpoLoss({
            chosenLogps: sumLogps(terms.chosen),
            rejectedLogps: sumLogps(terms.rejected),
            refChosenLogps: chosen!.refLogps,
            refRejectedLogps: rejected!.refLogps,
            weights: wpoWeights(terms, { alignment, clamp }),
          });
          return { terms, result };
        };
        const { terms, result } = run(chosen!.logits, rejected!.logits);
        for (const tensor of [terms.chosen, terms.rejected, result].flatMap((record) => Object.values(record))) {
          expect(values(tensor).some(Number.isNaN)).toBe(false);
        }
        for (const name of ['losses', 'dpoLosses'] as const) {
          const gradients = tf.grads((c, r) => run(c!, r!).result[name])([chosen!.logits, rejected!.logits]);
          for (const gradient of gradients) expect(values(gradient).every(Number.isFinite)).toBe(true);
        }
      }),
    );
  });

  it('has a gradient through logps alone', () => {
    const { logits, labels, mask } = hard();
    const loss = (detach: boolean) => (x: tf.Tensor) => {
      const terms = tokenTerms(x as tf.Tensor3D, labels, mask);
      const fixed = tokenTerms(logits, labels, mask);
      return answerScores({ ...terms, logSumSquares: detach ? fixed.logSumSquares : terms.logSumSquares });
    };
    expect(values(tf.grad(loss(false))(logits))).toEqual(values(tf.grad(loss(true))(logits)));
  });

  it('is NaN where an answer token’s label is outside the vocabulary', () => {
    const { logits, mask } = hard();
    const labels = tf.tensor2d([1, 2, -1, -100], [2, 2], 'int32');
    expect(values(tokenTerms(logits, labels, mask).logps).slice(1)).toEqual([Number.NaN, Number.NaN, 0]);
  });

  it('reports wrong input', () => {
    const { logits, labels, mask } = hard();
    expect(() => tokenTerms(logits, tf.cast(labels, 'float32'), mask)).toThrow(
      'tokenTerms: labels: expected dtype int32, found float32.',
    );
    expect(() => tokenTerms(logits, tf.ones([2, 1], 'int32'), mask)).toThrow(
      'tokenTerms: labels: expected shape [2,2], found [2,1].',
    );
    expect(() => tokenTerms(logits, labels, tf.ones([2]))).toThrow(
      'tokenTerms: mask: expected shape [2,2], found [2].',
    );
    expect(() => tokenTerms(tf.ones([2, 2]) as unknown as tf.Tensor3D, labels, mask)).toThrow(
      'tokenTerms: logits: expected shape [answers, tokens, vocabulary], found [2,2].',
    );
  });

  it('allocates no tensor other than its results, with or without a gradient', () => {
    const { logits, labels, mask } = hard();
    const dy = tf.ones([2, 2]);
    const before = tf.memory().numTensors;
    tf.dispose({ ...tokenTerms(logits, labels, mask) });
    tf.grad((x) => tokenTerms(x as tf.Tensor3D, labels, mask).logps)(logits, dy).dispose();
    expect(tf.memory().numTensors).toBe(before);
  });
});
