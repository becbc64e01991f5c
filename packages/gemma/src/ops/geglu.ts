import * as tf from '@tensorflow/tfjs-core';
import type { Result } from './kernels';

const LINEAR = 2 * Math.sqrt(2 / Math.PI);
const CUBIC = LINEAR * 0.044715;

/**
 * gelu(g) · u with the tanh approximation, written as g · σ(z) · u, z = g (LINEAR + CUBIC g²): the same function, since
 * (1 + tanh(z/2)) / 2 = σ(z), in one operation less.
 *
 * du = dy · g σ(z); dg = dy · u · (σ(z) + g σ(z) (1 − σ(z)) (LINEAR + 3 CUBIC g²)).
 */
export function geglu(gate: tf.Tensor2D, up: tf.Tensor2D): Result {
  const gated = tf.tidy(() => tf.sigmoid(tf.mul(gate, tf.add(tf.mul(tf.square(gate), CUBIC), LINEAR)))); // σ(z) [T, F]
  return {
    value: tf.tidy(() => tf.mul(tf.mul(gate, gated), up)),
    reads: [gate, up],
    saved: [gated],
    backward: (dy: tf.Tensor2D) =>
      tf.tidy(() => {
        const gelu = tf.mul(gate, gated);
        const slope = tf.add(tf.mul(tf.square(gate), 3 * CUBIC), LINEAR); // dz/dg
        const dGelu = tf.add(gated, tf.mul(tf.mul(gelu, tf.sub(1, gated)), slope));
        return [tf.mul(tf.mul(dy, up), dGelu), tf.mul(dy, gelu)];
      }),
  };
}
