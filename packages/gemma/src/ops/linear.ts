import * as tf from '@tensorflow/tfjs-core';
import type { Result, Weight } from './kernels';

/** x · wᵀ: `[T, in]`, `[out, in]` → `[T, out]`. */
export const linear = (x: tf.Tensor2D, w: Weight): Result => ({
  value: linearForward(x, w),
  reads: [x],
  saved: [],
  backward: (dy: tf.Tensor2D) => [linearBackward(dy, x, w)],
});

export const linearForward = (x: tf.Tensor2D, w: Weight): tf.Tensor2D => tf.matMul(x, matrixOf(w), false, true);

/** d loss / d x `[T, in]`; adds the weight's gradient. */
export function linearBackward(dy: tf.Tensor2D, x: tf.Tensor2D, w: Weight): tf.Tensor2D {
  w.accumulate(tf.matMul(dy, x, true, false)); // [out, in]
  return tf.matMul(dy, matrixOf(w));
}

/** (w · xᵀ) as heads: `[T, H]`, `[heads · D, H]` → `[heads, D, T]`. */
export function linearToHeads(x: tf.Tensor2D, w: Weight, heads: number): Result {
  const features = w.shape[0]!;
  const tokens = x.shape[0];
  const flat = (dy: tf.Tensor) => tf.reshape(dy, [features, tokens]) as tf.Tensor2D; // [heads · D, T]
  return {
    value: tf.tidy(() => tf.reshape(tf.matMul(matrixOf(w), x, false, true), [heads, features / heads, tokens])),
    reads: [x],
    saved: [],
    backward(dy: tf.Tensor) {
      w.accumulate(tf.tidy(() => tf.matMul(flat(dy), x))); // [heads · D, H]
      return [tf.tidy(() => tf.matMul(flat(dy), matrixOf(w), true, false))]; // [T, H]
    },
  };
}

/** xᵀ · wᵀ out of heads: `[N, D, T]`, `[out, N · D]` → `[T, out]`. */
export function linearFromHeads(x: tf.Tensor3D, w: Weight): Result {
  const [heads, width, tokens] = x.shape;
  const flat = () => tf.reshape(x, [heads * width, tokens]) as tf.Tensor2D; // [N · D, T]
  return {
    value: tf.tidy(() => tf.matMul(flat(), matrixOf(w), true, true)),
    reads: [x],
    saved: [],
    backward(dy: tf.Tensor2D) {
      w.accumulate(tf.tidy(() => tf.matMul(dy, flat(), true, true))); // [out, N · D]
      return [tf.tidy(() => tf.reshape(tf.matMul(matrixOf(w), dy, true, true), x.shape))]; // [N, D, T]
    },
  };
}

const matrixOf = (w: Weight) => w.value() as tf.Tensor2D;
