import * as tf from '@tensorflow/tfjs-core';
import type { Weight } from './contract';

/** a + b. Disposes both. */
export function add(a: tf.Tensor, b: tf.Tensor): tf.Tensor {
  const total = tf.add(a, b);
  tf.dispose([a, b]);
  return total;
}

/** Adds what `compute` returns to a weight's gradient. For a frozen weight, `compute` is not called. */
export const addGradient = (w: Weight, compute: () => tf.Tensor): void =>
  w.accumulate((sum) => {
    const gradient = tf.tidy(compute);
    return sum ? add(sum as tf.Tensor, gradient) : gradient;
  });
