import * as tf from '@tensorflow/tfjs-core';
import type { Result, Rotation } from './kernels';

/** Rotary position embedding of heads `[heads, D, T]`; its gradient is the rotation the other way. */
export function rope(x: tf.Tensor3D, rotation: Rotation): Result {
  const { half } = rotation;
  const cos = rotation.cos as tf.Tensor2D;
  const sin = rotation.sin as tf.Tensor2D;
  return {
    value: tf.tidy(() => tf.add(tf.mul(x, cos), tf.mul(swapHalves(x, half), sin))),
    reads: [],
    saved: [],
    backward: (dy: tf.Tensor3D) => [tf.tidy(() => tf.add(tf.mul(dy, cos), swapHalves(tf.mul(dy, sin), half)))],
  };
}

const swapHalves = (x: tf.Tensor3D, half: number) => {
  const [first, second] = tf.split(x, [half, half], 1);
  return tf.concat([second!, first!], 1) as tf.Tensor3D;
};

/**
 * The tables for `positions`, rounded to float32 where transformers rounds (modeling_gemma2.py,
 * Gemma2RotaryEmbedding), so that far positions turn by the same angle.
 */
export function rotation(positions: Int32Array, headDim: number, theta: number): Rotation {
  const tokens = positions.length;
  const half = headDim / 2;
  const cos = new Float32Array(headDim * tokens);
  const sin = new Float32Array(headDim * tokens);
  for (let i = 0; i < half; i++) {
    const frequency = Math.fround(1 / Math.fround(theta ** Math.fround((2 * i) / headDim)));
    for (let t = 0; t < tokens; t++) {
      const angle = Math.fround(positions[t]! * frequency);
      const first = i * tokens + t;
      const second = (i + half) * tokens + t;
      cos[first] = cos[second] = Math.cos(angle);
      sin[second] = Math.sin(angle);
      sin[first] = -sin[second]!;
    }
  }
  const shape: [number, number] = [headDim, tokens];
  return { half, cos: tf.tensor2d(cos, shape), sin: tf.tensor2d(sin, shape) };
}
