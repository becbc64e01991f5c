import '@wpo/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { nativeOperations } from '@wpo/tensorflow/kernels';
import fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import { run, withNumbers } from '../src/kernels/native';

nativeOperations();

const TURNS = ['', 'NT', 'TN', 'TT'] as const;
type Turns = (typeof TURNS)[number];

const product = (turns: Turns, a: tf.Tensor, b: tf.Tensor) => run(`WpoProduct${turns}`, [a, b], 1)[0] as tf.Tensor2D;
const turned = (turns: Turns, side: 0 | 1) => turns[side] === 'T';

/** a `[m, k]` and b `[k, n]`, each as `turns` wants it, of values from −1 to 1. */
const sides = (turns: Turns, m: number, k: number, n: number, seed: number) => [
  tf.randomUniform(turned(turns, 0) ? [k, m] : [m, k], -1, 1, 'float32', seed + 1),
  tf.randomUniform(turned(turns, 1) ? [n, k] : [k, n], -1, 1, 'float32', seed + 2),
];

/** Differs from TensorFlow's product by the rounding of k sums at most. */
function expectProduct(turns: Turns, m: number, k: number, n: number, seed = 0): void {
  tf.tidy(() => {
    const [a, b] = sides(turns, m, k, n, seed) as [tf.Tensor, tf.Tensor];
    const found = product(turns, a, b);
    expect(found.shape).toEqual([m, n]);
    const wanted = tf.matMul(a, b, turned(turns, 0), turned(turns, 1));
    const apart = tf.max(tf.abs(tf.sub(found, wanted))).dataSync()[0]!;
    expect(apart, `${turns} ${m} x ${k} x ${n}`).toBeLessThan(4e-6 * Math.sqrt(k));
    found.dispose();
  });
}

afterEach(() => {
  delete process.env.WPO_LANES;
});

describe.each([256, 16, 8, 4])('products of up to %i lanes', (lanes) => {
  test('are those of TensorFlow, whatever the shapes', () => {
    process.env.WPO_LANES = String(lanes);
    const side = fc.oneof(fc.integer({ min: 1, max: 70 }), fc.integer({ min: 1, max: 400 }));
    const depth = fc.oneof(side, fc.integer({ min: 500, max: 2600 })); // past one piece of it, and past two
    fc.assert(
      fc.property(fc.constantFrom(...TURNS), side, depth, side, fc.nat(1e6), (turns, m, k, n, seed) =>
        expectProduct(turns, m, k, n, seed),
      ),
      { numRuns: 60 },
    );
  });

  test.each(TURNS)('are so for more rows than are laid out at once, %s', (turns) => {
    process.env.WPO_LANES = String(lanes);
    expectProduct(turns, 4500, 1000, 37);
  });

  test('of nothing are nothing', () => {
    process.env.WPO_LANES = String(lanes);
    tf.tidy(() => {
      const found = [product('', tf.zeros([0, 5]), tf.ones([5, 3])), product('', tf.ones([2, 5]), tf.zeros([5, 0]))];
      expect(found.map(({ shape }) => shape)).toEqual([
        [0, 3],
        [2, 0],
      ]);
      expect(Array.from(product('', tf.zeros([2, 0]), tf.zeros([0, 2])).dataSync())).toEqual([0, 0, 0, 0]);
    });
  });

  test('are as near the true values as those of TensorFlow', () => {
    process.env.WPO_LANES = String(lanes);
    tf.tidy(() => {
      const [m, k, n] = [24, 1500, 40];
      const [a, b] = sides('NT', m, k, n, 9) as [tf.Tensor, tf.Tensor];
      const [x, y] = [a.dataSync(), b.dataSync()];
      const truth = Array.from({ length: m * n }, (_, i) => {
        const [row, column] = [Math.floor(i / n) * k, (i % n) * k];
        let sum = 0;
        for (let j = 0; j < k; j++) sum += x[row + j]! * y[column + j]!;
        return sum;
      });
      const away = (product: tf.Tensor) =>
        Math.sqrt(
          (product.dataSync() as Float32Array).reduce((sum, value, i) => sum + (value - truth[i]!) ** 2, 0) /
            truth.length,
        );
      const found = product('NT', a, b);
      expect(away(found)).toBeLessThan(1.5 * away(tf.matMul(a, b, false, true)));
      found.dispose();
    });
  });

  test('give a row the same values, bit for bit, whatever rows lie beside it', () => {
    process.env.WPO_LANES = String(lanes);
    tf.tidy(() => {
      const [a, b] = sides('NT', 300, 1500, 65, 5) as [tf.Tensor2D, tf.Tensor2D];
      const whole = product('NT', a, b);
      for (const [first, rows] of [
        [0, 1],
        [7, 20],
        [130, 170],
      ] as const) {
        const part = product('NT', tf.slice(a, [first, 0], [rows, 1500]), b);
        expect(part.dataSync()).toEqual(tf.slice(whole, [first, 0], [rows, 65]).dataSync());
        part.dispose();
      }
      whole.dispose();
    });
  });

  test('let NaN and infinity pass to the values that they are part of, and to no other', () => {
    process.env.WPO_LANES = String(lanes);
    tf.tidy(() => {
      const rows = Array.from({ length: 20 }, (_, i) => Array.from({ length: 33 }, () => (i === 3 ? Number.NaN : 1)));
      rows[5]![32] = Number.POSITIVE_INFINITY;
      const result = product('', tf.tensor2d(rows), tf.ones([33, 40]));
      const expected = [33, 33, 33, Number.NaN, 33, Number.POSITIVE_INFINITY];
      expected.forEach((value, i) =>
        expect(
          tf
            .slice(result, [i, 0], [1, 40])
            .dataSync()
            .every((x) => Object.is(x, value)),
        ).toBe(true),
      );
      result.dispose();
    });
  });

  test('let NaN and infinity pass through attention to the queries that they are part of, and to no other', () => {
    process.env.WPO_LANES = String(lanes);
    tf.tidy(() => {
      const [infinite, none, queries] = [7, 9, 40];
      const row = Array.from({ length: queries }, (_, i) =>
        i === infinite ? Number.POSITIVE_INFINITY : i === none ? Number.NaN : i / queries,
      );
      const [q, ones] = [tf.tensor3d([[row, row]]), tf.ones([1, 2, queries])];
      const spans = tf.tensor1d([0, queries, 0, queries, 1, 0, queries], 'int32');
      withNumbers([1, 50], (how) => {
        const [o] = run('WpoAttendSpans', [q, ones, ones, spans, how], 1); // means of ones, for a capped score is finite
        const [dq] = run('WpoAttendSpansGrad', [ones, q, ones, ones, spans, how], 3);
        for (const [found, value] of [
          [o!, 1],
          [dq!, 0],
        ] as const) {
          const wanted = row.map((x) => (Number.isNaN(x) ? x : expect.closeTo(value, 4)));
          expect(Array.from(found.dataSync())).toEqual([...wanted, ...wanted]);
        }
      });
    });
  });
});

test('no depth gives zeros; no rows, nothing', () => {
  expect(product('', tf.zeros([2, 0]), tf.zeros([0, 3])).dataSync()).toEqual(new Float32Array(6));
  expect(product('', tf.zeros([0, 4]), tf.zeros([4, 3])).shape).toEqual([0, 3]);
});

test('matrices that do not fit are refused', () => {
  expect(() => product('', tf.zeros([2, 3]), tf.zeros([2, 3]))).toThrow('the matrices do not fit');
  expect(() => product('', tf.zeros([3]) as tf.Tensor as tf.Tensor2D, tf.zeros([3, 3]))).toThrow('wanted matrices');
});

test('spans of attention that reach past the keys, or leave a query without one, are refused', () => {
  const [q, k] = [tf.zeros([2, 4, 3]), tf.zeros([1, 4, 5])];
  const attend = (...spans: number[]) =>
    withNumbers([1, 0], (how) => run('WpoAttendSpans', [q, k, k, tf.tensor1d(spans, 'int32'), how], 1)[0]!);
  expect(attend(0, 3, 2, 9, 1, 0, 5).shape).toEqual([2, 4, 3]);
  const refused = 'spans that do not fit';
  expect(() => attend(0, 3, 2, 9, 1, 1, 5), 'keys past the last').toThrow(refused);
  expect(() => attend(0, 2, 2, 9, 1, 0, 5), 'a query of no span').toThrow(refused);
  expect(() => attend(0, 3, 9, 2, 1, 0, 5), 'a window past the last key').toThrow(refused);
  expect(() => attend(0, 3, 2, 9, 2, 0, 5), 'a run that is cut short').toThrow(refused);
});
