import * as tf from '@tensorflow/tfjs-core';
import type { Result, Weight } from './kernels';

/** x · wᵀ: `[T, in]`, `[out, in]` → `[T, out]`. */
export const linear = (x: tf.Tensor2D, w: Weight): Result => ({
  value: tf.matMul(x, matrixOf(w), false, true),
  reads: [x],
  saved: [],
  backward(dy: tf.Tensor2D) {
    w.accumulate(tf.matMul(dy, x, true, false)); // [out, in]
    return [tf.matMul(dy, matrixOf(w))]; // [T, in]
  },
});

/** w · xᵀ as heads: `[T, H]`, `[heads · D, H]` → `[heads, D, T]`. */
export const linearToHeads = (x: tf.Tensor2D, w: Weight, heads: number): Result => ({
  value: tf.tidy(() => {
    const [features, tokens] = [w.shape[0]!, x.shape[0]];
    return tf.reshape(tf.matMul(matrixOf(w), x, false, true), [heads, features / heads, tokens]);
  }),
  reads: [x],
  saved: [],
  backward(dy: tf.Tensor3D) {
    w.accumulate(tf.tidy(() => tf.matMul(flat(dy), x))); // [heads · D, H]
    return [tf.tidy(() => tf.matMul(flat(dy), matrixOf(w), true, false))]; // [T, H]
  },
});

/** xᵀ · wᵀ out of heads: `[N, D, T]`, `[out, N · D]` → `[T, out]`. */
export const linearFromHeads = (x: tf.Tensor3D, w: Weight): Result => ({
  value: tf.tidy(() => tf.matMul(flat(x), matrixOf(w), true, true)),
  reads: [x],
  saved: [],
  backward(dy: tf.Tensor2D) {
    w.accumulate(tf.tidy(() => tf.matMul(dy, flat(x), true, true))); // [out, N · D]
    return [tf.tidy(() => tf.reshape(tf.matMul(matrixOf(w), dy, true, true), x.shape))]; // [N, D, T]
  },
});

const matrixOf = (w: Weight) => w.value() as tf.Tensor2D;

/** `[heads, D, T]` as `[heads · D, T]`. */
const flat = (x: tf.Tensor3D) => tf.reshape(x, [x.shape[0] * x.shape[1], x.shape[2]]) as tf.Tensor2D;
