import * as tf from '@tensorflow/tfjs-core';
import type { NamedTensor } from './policy';

/** Bounds the temporary tensor. */
const CHUNK = 1 << 24;

/** The name of the first tensor with NaN or infinity; null where all numbers are finite. */
export async function firstNotFinite(tensors: Iterable<NamedTensor>): Promise<string | null> {
  const names: string[] = [];
  const zeros: tf.Tensor[] = [];
  for (const { name, tensor } of tensors) {
    names.push(name);
    zeros.push(tf.tidy(() => timesZero(tensor)));
  }
  if (names.length === 0) return null;
  const sums = tf.stack(zeros);
  tf.dispose(zeros);
  try {
    const index = (await sums.data()).findIndex((sum) => sum !== 0);
    return index < 0 ? null : names[index]!;
  } finally {
    sums.dispose();
  }
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
