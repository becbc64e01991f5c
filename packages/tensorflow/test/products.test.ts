import '@wpo/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { nativeOperations } from '@wpo/tensorflow/kernels';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { run, withNumbers } from '../src/kernels/native';
import { ISAS, limitIsa } from './tiers';

nativeOperations();

const VARIANTS = ['', 'NT', 'TN', 'TT'] as const;
type Variant = (typeof VARIANTS)[number];

const product = (variant: Variant, a: tf.Tensor, b: tf.Tensor) =>
  run(`WpoProduct${variant}`, [a, b], 1)[0] as tf.Tensor2D;
const transposed = (variant: Variant, side: 0 | 1) => variant[side] === 'T';

/** a `[m, k]` and b `[k, n]`, transposed as `variant` says, with values from −1 to 1. */
const sides = (variant: Variant, m: number, k: number, n: number, seed: number) => [
  tf.randomUniform(transposed(variant, 0) ? [k, m] : [m, k], -1, 1, 'float32', seed + 1),
  tf.randomUniform(transposed(variant, 1) ? [n, k] : [k, n], -1, 1, 'float32', seed + 2),
];

/** Expects TensorFlow's product, up to the rounding of k sums. */
function expectProduct(variant: Variant, m: number, k: number, n: number, seed = 0): void {
  tf.tidy(() => {
    const [a, b] = sides(variant, m, k, n, seed) as [tf.Tensor, tf.Tensor];
    const found = product(variant, a, b);
    expect(found.shape).toEqual([m, n]);
    const expected = tf.matMul(a, b, transposed(variant, 0), transposed(variant, 1));
    const apart = tf.max(tf.abs(tf.sub(found, expected))).dataSync()[0]!;
    expect(apart, `${variant} ${m} x ${k} x ${n}`).toBeLessThan(4e-6 * Math.sqrt(k));
    found.dispose();
  });
}

describe.each(ISAS)('products limited to %s', (isa) => {
  limitIsa(isa);

  test("are TensorFlow's for any shapes", () => {
    const side = fc.oneof(fc.integer({ min: 1, max: 70 }), fc.integer({ min: 1, max: 400 }));
    const depth = fc.oneof(side, fc.integer({ min: 500, max: 2600 })); // more than one depth block, and more than two
    fc.assert(
      fc.property(fc.constantFrom(...VARIANTS), side, depth, side, fc.nat(1e6), (variant, m, k, n, seed) =>
        expectProduct(variant, m, k, n, seed),
      ),
      { numRuns: 60 },
    );
  });

  test.each(VARIANTS)("are TensorFlow's for more rows than are packed at once, %s", (variant) => {
    expectProduct(variant, 4500, 1000, 37);
  });

  test('of empty matrices are empty, or zeros', () => {
    tf.tidy(() => {
      const found = [product('', tf.zeros([0, 5]), tf.ones([5, 3])), product('', tf.ones([2, 5]), tf.zeros([5, 0]))];
      expect(found.map(({ shape }) => shape)).toEqual([
        [0, 3],
        [2, 0],
      ]);
      expect(Array.from(product('', tf.zeros([2, 0]), tf.zeros([0, 2])).dataSync())).toEqual([0, 0, 0, 0]);
    });
  });

  test('are as close to the float64 product as those of TensorFlow', () => {
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

  test('give a row the same bits, whatever other rows there are', () => {
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

  test('carry NaN and infinity to the values that depend on them, and to no other', () => {
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

  test('carry NaN and infinity through attention to the queries that depend on them, and to no other', () => {
    tf.tidy(() => {
      const [infinite, notANumber, queries] = [7, 9, 40];
      const row = Array.from({ length: queries }, (_, i) =>
        i === infinite ? Number.POSITIVE_INFINITY : i === notANumber ? Number.NaN : i / queries,
      );
      const [q, ones] = [tf.tensor3d([[row, row]]), tf.ones([1, 2, queries])];
      const blocks = tf.tensor1d([0, queries, 0, queries, 1, 0, queries], 'int32');
      withNumbers([1, 50], (params) => {
        const [o] = run('WpoAttention', [q, ones, ones, blocks, params], 1); // a capped score is finite: means of ones
        const [dq] = run('WpoAttentionGrad', [ones, q, ones, ones, blocks, params], 3);
        for (const [found, value] of [
          [o!, 1],
          [dq!, 0],
        ] as const) {
          const expected = row.map((x) => (Number.isNaN(x) ? x : expect.closeTo(value, 4)));
          expect(Array.from(found.dataSync())).toEqual([...expected, ...expected]);
        }
      });
    });
  });
});
