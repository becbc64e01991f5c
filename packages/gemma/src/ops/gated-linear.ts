import * as tf from '@tensorflow/tfjs-core';
import type { Result, Weight } from './kernels';
import { matrixProducts, type Products } from './linear';

/** GeGLU and its products, worth fusing; gate and up are `[T, F]`. */
export interface GatedProducts {
  /** (gelu(gate) · up) · wᵀ, gelu by its tanh approximation: `w` `[H, F]` → `[T, H]`. */
  rows(gate: tf.Tensor2D, up: tf.Tensor2D, w: tf.Tensor2D): tf.Tensor2D;
  /** dyᵀ · (gelu(gate) · up), d loss / d w: `dy` `[T, H]` → `[H, F]`. */
  weightGradient(dy: tf.Tensor2D, gate: tf.Tensor2D, up: tf.Tensor2D): tf.Tensor2D;
  /** dy · w, d loss / d (gelu(gate) · up): `[T, H]`, `[H, F]` → `[T, F]`. */
  inputGradient(dy: tf.Tensor2D, w: tf.Tensor2D): tf.Tensor2D;
  /** d loss / d gate and d loss / d up, from d loss / d (gelu(gate) · up). */
  backward(dActivated: tf.Tensor2D, gate: tf.Tensor2D, up: tf.Tensor2D): [tf.Tensor, tf.Tensor];
}

/** GeGLU alone, for products that take what it gives. */
export interface Geglu {
  /** gelu(gate) · up. */
  forward(gate: tf.Tensor2D, up: tf.Tensor2D): tf.Tensor2D;
  backward: GatedProducts['backward'];
}

/**
 * (gelu(gate) · up) · wᵀ: `[T, F]`, `[T, F]`, `[H, F]` → `[T, H]`. One operation, so that the product in the middle, the
 * largest value of a block, is not kept for the way back: it costs little to compute again.
 */
export const gatedLinearBy =
  ({ rows, weightGradient, inputGradient, backward }: GatedProducts) =>
  (gate: tf.Tensor2D, up: tf.Tensor2D, w: Weight): Result => ({
    value: rows(gate, up, w.value() as tf.Tensor2D),
    reads: [gate, up],
    saved: [],
    backward(dy: tf.Tensor2D) {
      w.accumulate(weightGradient(dy, gate, up));
      const dActivated = inputGradient(dy, w.value() as tf.Tensor2D); // [T, F]
      const gradients = backward(dActivated, gate, up);
      dActivated.dispose();
      return gradients;
    },
  });

/** The same over GeGLU and products that know nothing of each other. */
export const gatedLinearWith = (geglu: Geglu, { rows, product }: Products) => {
  const activated = (gate: tf.Tensor2D, up: tf.Tensor2D, use: (activated: tf.Tensor2D) => tf.Tensor2D) => {
    const value = geglu.forward(gate, up); // [T, F]
    const used = use(value);
    value.dispose();
    return used;
  };
  return gatedLinearBy({
    rows: (gate, up, w) => activated(gate, up, (value) => rows(value, w)),
    weightGradient: (dy, gate, up) => activated(gate, up, (value) => product(dy, value, true, false)),
    inputGradient: (dy, w) => product(dy, w),
    backward: geglu.backward,
  });
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

export const gatedLinear = gatedLinearWith(composedGeglu, matrixProducts);
