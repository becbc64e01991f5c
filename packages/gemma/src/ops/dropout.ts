import * as tf from '@tensorflow/tfjs-core';
import { randomBits } from '@wpo/internal/random';
import type { DropoutOptions } from './contract';

/** A value is kept if its bits are at least this. */
export const dropoutThreshold = (rate: number) => Math.floor(rate * 2 ** 32);

/** x with some values set to 0 and the others divided by 1 − rate. */
export function dropout(x: tf.Tensor, { keys, rate, byFeature = false }: DropoutOptions): tf.Tensor {
  const features = x.size / keys.length;
  const threshold = dropoutThreshold(rate);
  const kept = 1 / (1 - rate);
  const factors = new Float32Array(x.size);
  for (let token = 0; token < keys.length; token++) {
    for (let i = 0; i < features; i++) {
      const at = byFeature ? i * keys.length + token : token * features + i;
      factors[at] = randomBits(keys[token]!, i) >= threshold ? kept : 0;
    }
  }
  return tf.tidy(() => tf.mul(x, tf.tensor(factors, x.shape)));
}
