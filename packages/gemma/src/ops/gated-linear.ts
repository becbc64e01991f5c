import * as tf from '@tensorflow/tfjs-core';
import type { Result, Weight } from './kernels';

/** GeGLU, worth fusing; gate and up are `[T, F]`. */
export interface Geglu {
  /** gelu(gate) · up, gelu by its tanh approximation. */
  forward(gate: tf.Tensor2D, up: tf.Tensor2D): tf.Tensor2D;
  /** d loss / d gate and d loss / d up, from d loss / d (gelu(gate) · up). */
  backward(dActivated: tf.Tensor2D, gate: tf.Tensor2D, up: tf.Tensor2D): [tf.Tensor, tf.Tensor];
}

/**
 * (gelu(gate) · up) · wᵀ: `[T, F]`, `[T, F]`, `[H, F]` → `[T, H]`. One operation, so that the product in the middle, the
 * largest value of a block, is not kept for the way back: it costs little to compute again.
 */
export const gatedLinearWith =
  ({ forward, backward }: Geglu) =>
  (gate: tf.Tensor2D, up: tf.Tensor2D, w: Weight): Result => {
    const weight = () => w.value() as tf.Tensor2D;
    return {
      value: tf.tidy(() => tf.matMul(forward(gate, up), weight(), false, true)),
      reads: [gate, up],
      saved: [],
      backward(dy: tf.Tensor2D) {
        w.accumulate(tf.tidy(() => tf.matMul(dy, forward(gate, up), true, false))); // [H, F]
        const dActivated: tf.Tensor2D = tf.matMul(dy, weight()); // [T, F]
        const gradients = backward(dActivated, gate, up);
        dActivated.dispose();
        return gradients;
      },
    };
  };

const LINEAR = 2 * Math.sqrt(2 / Math.PI);
const CUBIC = LINEAR * 0.044715;

/**
 * gelu(g) · u written as g · σ(z) · u, z = g (LINEAR + CUBIC g²): the same function, since (1 + tanh(z/2)) / 2 = σ(z), in
 * one operation less.
 *
 * du = dy · g σ(z); dg = dy · u · (σ(z) + g σ(z) (1 − σ(z)) (LINEAR + 3 CUBIC g²)).
 */
const composedGeglu: Geglu = {
  forward: (gate, up) => tf.tidy(() => tf.mul(tf.mul(gate, gateOf(gate)), up)),
  backward: (dy, gate, up) =>
    tf.tidy(() => {
      const gated = gateOf(gate);
      const gelu = tf.mul(gate, gated);
      const slope = tf.add(tf.mul(tf.square(gate), 3 * CUBIC), LINEAR); // dz/dg
      const dGelu = tf.add(gated, tf.mul(tf.mul(gelu, tf.sub(1, gated)), slope));
      return [tf.mul(tf.mul(dy, up), dGelu), tf.mul(dy, gelu)];
    }),
};

/** σ(z). */
const gateOf = (gate: tf.Tensor2D) => tf.sigmoid(tf.mul(gate, tf.add(tf.mul(tf.square(gate), CUBIC), LINEAR)));

export const gatedLinear = gatedLinearWith(composedGeglu);
