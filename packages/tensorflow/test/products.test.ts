import '@wpo/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { nativeOperations } from '@wpo/tensorflow/kernels';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { float32Bits, run, withNumbers } from '../src/kernels/native';
import { roundToBf16, runStored } from './stored';
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

const sameBits = (a: tf.Tensor, b: tf.Tensor) =>
  Buffer.compare(Buffer.from(a.dataSync().buffer), Buffer.from(b.dataSync().buffer)) === 0;

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

  test('are closer to the float64 product than float32 sums in order', () => {
    tf.tidy(() => {
      const [m, k, n] = [24, 1500, 40];
      const [a, b] = sides('NT', m, k, n, 9) as [tf.Tensor, tf.Tensor];
      const [x, y] = [a.dataSync(), b.dataSync()];
      /** The product with sums of this type. */
      const sumsIn = (round: (sum: number) => number) =>
        Array.from({ length: m * n }, (_, i) => {
          const [row, column] = [Math.floor(i / n) * k, (i % n) * k];
          let sum = 0;
          for (let j = 0; j < k; j++) sum = round(sum + round(x[row + j]! * y[column + j]!));
          return sum;
        });
      const exact = sumsIn((sum) => sum);
      const away = (values: ArrayLike<number>) =>
        Math.sqrt(exact.reduce((sum, value, i) => sum + (values[i]! - value) ** 2, 0) / exact.length);
      const found = product('NT', a, b);
      expect(away(found.dataSync())).toBeLessThan(0.75 * away(sumsIn(Math.fround)));
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

  /** Expects that bfloat16 inputs give the bits of the same values in float32. */
  const expectSameBits = (name: string, inputs: tf.Tensor[], narrow: readonly number[], ...shapes: number[][]) =>
    tf.tidy(() => {
      const values = inputs.map((x, i) => (narrow.includes(i) ? roundToBf16(x) : x));
      const expected = runStored(name, values, [], ...shapes);
      for (const [i, y] of runStored(name, values, narrow, ...shapes).entries()) {
        expect(sameBits(y, expected[i]!), `${name} ${JSON.stringify(inputs.map(({ shape }) => shape))}`).toBe(true);
      }
    });

  test('with bfloat16 operands give the bits of the same values in float32', () => {
    const side = fc.oneof(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 150 }));
    const depth = fc.oneof(side, fc.integer({ min: 500, max: 1300 }));
    const narrow = fc.constantFrom([0], [1], [0, 1]);
    fc.assert(
      fc.property(
        fc.constantFrom(...VARIANTS),
        side,
        depth,
        side,
        narrow,
        fc.nat(1e6),
        (variant, m, k, n, which, seed) =>
          expectSameBits(`WpoProduct${variant}`, sides(variant, m, k, n, seed), which, [m, n]),
      ),
      { numRuns: 60 },
    );
  });

  test('a bfloat16 weight and its float32 values give the same bits: linear layers, GeGLU, RMSNorm, rows by index', () => {
    const side = fc.integer({ min: 1, max: 70 });
    const random = (shape: number[], seed: number) => tf.randomUniform(shape, -1, 1, 'float32', seed);
    const params = (...values: number[]) => tf.tensor1d(float32Bits(values), 'int32');
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 20 }), side, side, fc.nat(1e6), (rows, n, k, seed) => {
        const [x, w] = [random([rows, k], seed + 1), random([n, k], seed + 2)];
        expectSameBits('WpoLinearRows', [x, w], [1], [rows, n]);
        expectSameBits('WpoLinearRowsToHeads', [x, w, params(1)], [1], [1, n, rows]);
        expectSameBits('WpoLinearRowsFromHeads', [random([1, k, rows], seed), w], [1], [rows, n]);
        expectSameBits('WpoGatedProduct', [x, random([rows, k], seed), w], [2], [rows, n]);
        const [norm, r] = [random([k], seed + 3), random([rows, 1], seed + 4)];
        expectSameBits('WpoRmsNorm', [x, norm, params(1e-6, 0), x], [1], [rows, k], [rows, 1]);
        expectSameBits('WpoRmsNormGrad', [x, x, r, norm], [3], [rows, k], [k]);
        const indices = tf.tensor1d([0, n - 1, 0], 'int32');
        expectSameBits('WpoScaledRows', [w, indices, params(3)], [0], [3, k]);
      }),
      { numRuns: 20 },
    );
  });

  test('are added to a tensor in place, with the bits of a product that is added up to 512 depths', () => {
    const side = fc.integer({ min: 1, max: 90 });
    const depth = fc.oneof(side, fc.integer({ min: 500, max: 2600 }));
    fc.assert(
      fc.property(fc.constantFrom(...VARIANTS), side, depth, side, fc.nat(1e6), (variant, m, k, n, seed) =>
        tf.tidy(() => {
          const [a, b] = sides(variant, m, k, n, seed) as [tf.Tensor, tf.Tensor];
          const expected = tf.add(product(variant, a, b), 1);
          const into = tf.ones([1, m, n]); // heads are rows of a product
          run(`WpoAddProduct${variant}`, [into, a, b], 1);
          if (k <= 512 && isa !== 'amx') expect(sameBits(into, expected)).toBe(true);
          expect(tf.max(tf.abs(tf.sub(into, expected))).dataSync()[0]).toBeLessThan(4e-6 * Math.sqrt(k));
          const [gate, up] = [tf.randomNormal([n, k]), tf.randomNormal([n, k])];
          const dw = tf.ones([m, k]);
          const dy = tf.randomUniform([n, m], -1, 1);
          const [added] = run('WpoGatedProductGrad', [dy, gate, up], 1);
          run('WpoAddGatedProductGrad', [dw, dy, gate, up], 1);
          expect(tf.max(tf.abs(tf.sub(dw, tf.add(added!, 1)))).dataSync()[0]).toBeLessThan(1e-5 * Math.sqrt(n));
        }),
      ),
      { numRuns: 20 },
    );
  });

  test('are added exactly where operands or sums are infinite', () => {
    tf.tidy(() => {
      const a = tf.tensor2d([1, Number.POSITIVE_INFINITY, 1, 1], [4, 1]);
      const into = tf.tensor2d([1, 1, Number.NaN, Number.NEGATIVE_INFINITY], [4, 1]);
      run('WpoAddProduct', [into, a, tf.ones([1, 1])], 1);
      expect(Array.from(into.dataSync())).toEqual([2, Number.POSITIVE_INFINITY, Number.NaN, Number.NEGATIVE_INFINITY]);
      run('WpoAddProduct', [into, tf.zeros([4, 0]), tf.zeros([0, 1])], 1);
      expect(into.dataSync()[0]).toBe(2);
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
