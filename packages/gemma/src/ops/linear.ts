import * as tf from '@tensorflow/tfjs-core';
import type { Kernels, Result, Weight } from './kernels';

/** The products with a weight that go forward, worth writing anew where rows are few. */
export interface Products {
  /** x · wᵀ: `[T, in]`, `[out, in]` → `[T, out]`. */
  rows(x: tf.Tensor2D, w: tf.Tensor2D): tf.Tensor2D;
  /** (w · xᵀ) as heads: `[T, H]`, `[heads · D, H]` → `[heads, D, T]`. */
  toHeads(x: tf.Tensor2D, w: tf.Tensor2D, heads: number): tf.Tensor3D;
  /** xᵀ · wᵀ out of heads: `[N, D, T]`, `[out, N · D]` → `[T, out]`. */
  fromHeads(x: tf.Tensor3D, w: tf.Tensor2D): tf.Tensor2D;
}

export const matrixProducts: Products = {
  rows: (x, w) => tf.matMul(x, w, false, true),
  toHeads: (x, w, heads) =>
    tf.tidy(() => {
      const [features, tokens] = [w.shape[0], x.shape[0]];
      return tf.reshape(tf.matMul(w, x, false, true), [heads, features / heads, tokens]);
    }),
  fromHeads: (x, w) => tf.tidy(() => tf.matMul(flat(x), w, true, true)),
};

/** The three linear operations over these products, with their gradients. */
export const linearsWith = (products: Products) =>
  ({
    linear: (x: tf.Tensor2D, w: Weight): Result => ({
      value: products.rows(x, matrixOf(w)),
      reads: [x],
      saved: [],
      backward: (dy: tf.Tensor2D) => [linearBackward(dy, x, w)],
    }),
    linearToHeads: (x: tf.Tensor2D, w: Weight, heads: number): Result => ({
      value: products.toHeads(x, matrixOf(w), heads),
      reads: [x],
      saved: [],
      backward(dy: tf.Tensor3D) {
        w.accumulate(tf.tidy(() => tf.matMul(flat(dy), x))); // [heads · D, H]
        return [tf.tidy(() => tf.matMul(flat(dy), matrixOf(w), true, false))]; // [T, H]
      },
    }),
    linearFromHeads: (x: tf.Tensor3D, w: Weight): Result => ({
      value: products.fromHeads(x, matrixOf(w)),
      reads: [x],
      saved: [],
      backward(dy: tf.Tensor2D) {
        w.accumulate(tf.tidy(() => tf.matMul(dy, flat(x), true, true))); // [out, N · D]
        return [tf.tidy(() => tf.reshape(tf.matMul(matrixOf(w), dy, true, true), x.shape))]; // [N, D, T]
      },
    }),
  }) satisfies Pick<Kernels, 'linear' | 'linearToHeads' | 'linearFromHeads'>;

/** d loss / d x `[T, in]`; adds the weight's gradient. */
export function linearBackward(dy: tf.Tensor2D, x: tf.Tensor2D, w: Weight): tf.Tensor2D {
  w.accumulate(tf.matMul(dy, x, true, false)); // [out, in]
  return tf.matMul(dy, matrixOf(w));
}

/** `[heads, D, T]` → `[heads · D, T]`. */
const flat = (x: tf.Tensor3D) => tf.reshape(x, [x.shape[0] * x.shape[1], x.shape[2]]) as tf.Tensor2D;

const matrixOf = (w: Weight) => w.value() as tf.Tensor2D;
