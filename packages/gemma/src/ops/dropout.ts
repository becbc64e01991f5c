import * as tf from '@tensorflow/tfjs-core';
import type { DropoutOptions } from './contract';

/**
 * 32 random bits for value `index` of the token with this key. A counter-based generator: the numbers of a token are those of
 * SplitMix with an increment of its own, and the mixing function is C. Wellons' lowbias32 (public domain).
 */
export function dropoutBits(key: number, index: number): number {
  const increment = mixBits(key ^ 0x5bd1e995) | 1;
  return mixBits((key + Math.imul(index, increment)) | 0);
}

function mixBits(x: number): number {
  x = Math.imul(x ^ (x >>> 16), 0x7feb352d);
  x = Math.imul(x ^ (x >>> 15), 0x846ca68b);
  return (x ^ (x >>> 16)) >>> 0;
}

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
      factors[at] = dropoutBits(keys[token]!, i) >= threshold ? kept : 0;
    }
  }
  return tf.tidy(() => tf.mul(x, tf.tensor(factors, x.shape)));
}
