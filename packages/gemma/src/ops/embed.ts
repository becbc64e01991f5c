import * as tf from '@tensorflow/tfjs-core';
import type { Result, Weight } from './kernels';

/** Rows of the table `[V, H]` at `ids` `[T]`, times `scale` (√H in Gemma): `[T, H]`. */
export function embed(table: Weight, ids: Int32Array, scale: number): Result {
  const factor = Math.fround(scale);
  return {
    value: tf.tidy(() => tf.mul(tf.gather(table.value() as tf.Tensor2D, tf.tensor1d(ids, 'int32')), factor)),
    reads: [],
    saved: [],
    backward(dy: tf.Tensor2D) {
      const rows = tf.mul(dy, factor);
      table.accumulateRows(ids, rows);
      rows.dispose();
      return [];
    },
  };
}
