import * as tf from '@tensorflow/tfjs-core';
import type { Kernels, Result, Weight } from './kernels';

/** A product of two matrices, either of them turned: `[m, k]`, `[k, n]` → `[m, n]`. */
export type MatrixProduct = (a: tf.Tensor2D, b: tf.Tensor2D, turnA?: boolean, turnB?: boolean) => tf.Tensor2D;

/** How products are made; those with a weight that go forward are worth writing anew where rows are few. */
export interface Products {
  readonly product: MatrixProduct;
  /** `[heads, D, T]` as `[heads · D, T]` for `product`: x itself where that takes it so. */
  flat(x: tf.Tensor3D): tf.Tensor2D;
  /** x · wᵀ: `[T, in]`, `[out, in]` → `[T, out]`. */
  rows(x: tf.Tensor2D, w: tf.Tensor2D): tf.Tensor2D;
  /** (w · xᵀ) as heads: `[T, H]`, `[heads · D, H]` → `[heads, D, T]`. */
  toHeads(x: tf.Tensor2D, w: tf.Tensor2D, heads: number): tf.Tensor3D;
  /** xᵀ · wᵀ out of heads: `[N, D, T]`, `[out, N · D]` → `[T, out]`. */
  fromHeads(x: tf.Tensor3D, w: tf.Tensor2D): tf.Tensor2D;
}

const flattened = (x: tf.Tensor3D) => tf.reshape(x, [x.shape[0] * x.shape[1], x.shape[2]]) as tf.Tensor2D;

export const productsBy = (product: MatrixProduct, flat = flattened): Products => ({
  product,
  flat,
  rows: (x, w) => product(x, w, false, true),
  toHeads: (x, w, heads) =>
    tf.tidy(() => {
      const [features, tokens] = [w.shape[0], x.shape[0]];
      return tf.reshape(product(w, x, false, true), [heads, features / heads, tokens]);
    }),
  fromHeads: (x, w) => tf.tidy(() => product(flat(x), w, true, true)),
});

export const matrixProducts = productsBy((a, b, turnA, turnB) => tf.matMul(a, b, turnA, turnB));

/** The three linear operations over these products, with their gradients. */
export const linearsWith = (products: Products) => {
  const { product, flat, rows, toHeads, fromHeads } = products;
  return {
    linear: (x: tf.Tensor2D, w: Weight): Result => ({
      value: rows(x, matrixOf(w)),
      reads: [x],
      saved: [],
      backward(dy: tf.Tensor2D) {
        w.accumulate(product(dy, x, true, false)); // [out, in]
        return [product(dy, matrixOf(w))]; // [T, in]
      },
    }),
    linearToHeads: (x: tf.Tensor2D, w: Weight, heads: number): Result => ({
      value: toHeads(x, matrixOf(w), heads),
      reads: [x],
      saved: [],
      backward(dy: tf.Tensor3D) {
        w.accumulate(tf.tidy(() => product(flat(dy), x))); // [heads · D, H]
        return [tf.tidy(() => product(flat(dy), matrixOf(w), true, false))]; // [T, H]
      },
    }),
    linearFromHeads: (x: tf.Tensor3D, w: Weight): Result => ({
      value: fromHeads(x, matrixOf(w)),
      reads: [x],
      saved: [],
      backward(dy: tf.Tensor2D) {
        w.accumulate(tf.tidy(() => product(dy, flat(x), true, true))); // [out, N · D]
        return [tf.tidy(() => tf.reshape(product(matrixOf(w), dy, true, true), x.shape))]; // [N, D, T]
      },
    }),
  } satisfies Pick<Kernels, 'linear' | 'linearToHeads' | 'linearFromHeads'>;
};

const matrixOf = (w: Weight) => w.value() as tf.Tensor2D;
