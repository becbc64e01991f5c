import * as tf from '@tensorflow/tfjs-core';
import type { Result } from './kernels';

/** Rows of x `[T, H]` at `indices` `[A]`; a row's gradient is the sum over where it went. */
export function rows(x: tf.Tensor2D, indices: Int32Array): Result {
  const count = x.shape[0];
  return {
    value: tf.tidy(() => tf.gather(x, tf.tensor1d(indices, 'int32'))),
    reads: [],
    saved: [],
    backward: (dy: tf.Tensor2D) => [addRows(null, indices, dy, count)],
  };
}

/** a + b; takes ownership of both. */
export function sum(a: tf.Tensor, b: tf.Tensor): tf.Tensor {
  const total = tf.add(a, b);
  tf.dispose([a, b]);
  return total;
}

/** `total` `[V, H]` (zeros where null, freed here) with `rows` added at `indices`. */
export function addRows(total: tf.Tensor | null, indices: Int32Array, rows: tf.Tensor, count: number): tf.Tensor {
  const spread = tf.tidy(() => tf.unsortedSegmentSum(rows, tf.tensor1d(indices, 'int32'), count));
  return total ? sum(total, spread) : spread;
}

/** Columns of b after those of a. */
export const join = (a: tf.Tensor3D, b: tf.Tensor3D): tf.Tensor3D => tf.concat([a, b], 2) as tf.Tensor3D;
