import * as tf from '@tensorflow/tfjs-core';
import type { Result, Weight } from './kernels';

/** Rows of the table `[V, H]` at `ids` `[T]`, times `scale` (√H in Gemma): `[T, H]`. */
export function embed(table: Weight, ids: Int32Array, scale: number): Result {
  const factor = Math.fround(scale);
  return {
    value: tf.tidy(() => tf.mul(tf.gather(table.value() as tf.Tensor2D, tf.tensor1d(ids, 'int32')), factor)),
    saved: [],
    backward(dy: tf.Tensor2D) {
      table.accumulate(
        tf.tidy(() => tf.unsortedSegmentSum(tf.mul(dy, factor), tf.tensor1d(ids, 'int32'), table.shape[0]!)),
      );
      return [];
    },
  };
}
