import * as tf from '@tensorflow/tfjs-core';
import { murmurFinalise, randomBits } from '@wpo/internal/random';

// Rounding to bfloat16 at random, in proportion: a value between two of them becomes the upper one with the probability of its distance
// from the lower one, so the mean is the value. Rounded to the nearest, an update of less than half a spacing would always be lost:
// bfloat16's spacing at 0.02 is 1.2e-4, and AdamW's update at a learning rate of 1e-6 is 1e-6.
//
// The random numbers are a function of the seed, the step, the parameter and the index, so a resumed run has the same ones, on any
// number of threads.

/** The key of a parameter's random numbers in a step. */
export const roundingKey = (seed: number, step: number, name: string): number =>
  [seed, Math.floor(seed / 2 ** 32), step, ...Array.from(name, (letter) => letter.codePointAt(0)!)].reduce(
    (hash, word) => murmurFinalise(hash ^ word),
    0x9e3779b9,
  );

/** Rounds a float32 tensor to bfloat16 values. Takes ownership of it. As native/elementwise/updated-value.h. */
export function roundStochastically(x: tf.Tensor, key: number): tf.Tensor {
  const values = Float32Array.from(x.dataSync());
  const bits = new Int32Array(values.buffer);
  for (let i = 0; i < bits.length; i++) {
    if (Number.isFinite(values[i])) bits[i] = (bits[i]! + (randomBits(key, i) >>> 16)) & 0xffff0000;
  }
  const rounded = tf.tensor(values, x.shape);
  x.dispose();
  return rounded;
}
