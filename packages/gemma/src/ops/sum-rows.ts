import * as tf from '@tensorflow/tfjs-core';

/** Row i is 1 in column indices[i], else 0: int32 `[n]` → float32 `[n, count]`. Cast, because tfjs-backend-wasm 4.22 writes int32 for any type. */
export const oneHot = (indices: tf.Tensor1D, count: number): tf.Tensor2D =>
  tf.tidy(() => tf.cast(tf.oneHot(indices, count), 'float32') as tf.Tensor2D);

/**
 * Row i of the result is the sum of the rows whose index is i: `[n, H]`, int32 `[n]` → `[count, H]`. A backend without
 * `UnsortedSegmentSum` (tfjs-backend-wasm 4.22) multiplies by a one-hot matrix, which takes n · count values.
 */
export const sumRows = (rows: tf.Tensor2D, indices: tf.Tensor1D, count: number): tf.Tensor2D =>
  tf.getKernel('UnsortedSegmentSum', tf.getBackend())
    ? tf.unsortedSegmentSum(rows, indices, count)
    : tf.tidy(() => tf.matMul(oneHot(indices, count), rows, true, false));
