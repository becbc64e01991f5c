import * as tf from '@tensorflow/tfjs-core';
import type { Policy } from './policy';
import { isTensor, partsOf, type StoredValues } from './values';

/** Bounds the temporary tensor. */
const CHUNK = 1 << 24;

/** The name of the first weight with NaN or infinity; null where all numbers are finite. */
export async function firstNotFinite({ parameters }: Policy): Promise<string | null> {
  const sums: number[] = [];
  const zeros: tf.Tensor[] = [];
  for (const [i, parameter] of parameters.entries()) {
    const value = parameter.value();
    if (isTensor(value)) zeros.push(tf.tidy(() => timesZero(value)));
    else sums[i] = storedTimesZero(value);
  }
  if (zeros.length > 0) {
    const stacked = tf.stack(zeros);
    tf.dispose(zeros);
    const read = await stacked.data();
    stacked.dispose();
    let next = 0;
    for (const i of parameters.keys()) sums[i] ??= read[next++]!;
  }
  const index = sums.findIndex((sum) => sum !== 0);
  return index < 0 ? null : parameters[index]!.name;
}

/** Σ 0·x: 0 where every x is finite, else NaN. */
function timesZero(tensor: tf.Tensor): tf.Tensor {
  const flat = tf.reshape(tensor, [tensor.size]);
  const starts = Array.from({ length: Math.ceil(tensor.size / CHUNK) }, (_, i) => i * CHUNK);
  const parts = starts.map((start) =>
    tf.tidy(() => {
      const part = starts.length === 1 ? flat : tf.slice(flat, start, Math.min(CHUNK, tensor.size - start));
      return tf.sum(tf.mul(part, 0));
    }),
  );
  return parts.length === 0 ? tf.scalar(0) : tf.sum(tf.stack(parts));
}

function storedTimesZero(values: StoredValues): number {
  if (values.areFinite()) return 0;
  let zero = 0;
  for (const [start, count] of partsOf(values.shape)) {
    for (const value of values.read(start, count)) zero += value * 0;
  }
  return zero;
}
