import * as tf from '@tensorflow/tfjs-core';
import type { Parameter } from './policy';
import { isStored, isTensor, partsOf, type StoredValues } from './values';

/** Bounds the temporary tensor of squares, and the number of values that float32 sums. */
const CHUNK = 1 << 24;

/**
 * The L2 norm of all gradients as one vector. A parameter without a gradient counts as zeros. Sums of squares are float32 over at
 * most 2^24 values, and float64 beyond. The norm is not finite where a gradient is not, or where a square overflows float32.
 */
export async function gradientNorm(parameters: readonly Parameter[]): Promise<number> {
  const gradients = parameters.map((parameter) => parameter.gradient()).filter((gradient) => gradient !== null);
  const [tensors, stored] = [gradients.filter(isTensor), gradients.filter(isStored)];
  const sums = tf.tidy(() => {
    const squares = tensors.flatMap(sumsOfSquares);
    return squares.length > 0 ? tf.stack(squares) : tf.zeros([1]);
  });
  try {
    let total = stored.reduce((sum, gradient) => sum + sumOfStoredSquares(gradient), 0);
    for (const sum of await sums.data()) total += sum;
    return Math.sqrt(total);
  } finally {
    sums.dispose();
  }
}

/** The first parameter whose gradient has no finite norm. */
export async function firstOverflow(parameters: readonly Parameter[]): Promise<string | undefined> {
  for (const parameter of parameters) {
    if (!Number.isFinite(await gradientNorm([parameter]))) return parameter.name;
  }
  return undefined;
}

function sumsOfSquares(gradient: tf.Tensor): tf.Tensor[] {
  const flat = tf.reshape(gradient, [gradient.size]);
  const starts = Array.from({ length: Math.ceil(gradient.size / CHUNK) }, (_, i) => i * CHUNK);
  return starts.map((start) =>
    tf.tidy(() => {
      const part = gradient.size <= CHUNK ? flat : tf.slice(flat, start, Math.min(CHUNK, gradient.size - start));
      return tf.sum(tf.square(part));
    }),
  );
}

/** The squares are float32, their sum float64. */
function sumOfStoredSquares(gradient: StoredValues): number {
  let sum = 0;
  for (const [start, count] of partsOf(gradient.shape)) {
    for (const value of gradient.read(start, count)) sum += Math.fround(value * value);
  }
  return sum;
}

/**
 * The factor by which `torch.nn.utils.clip_grad_norm_` multiplies gradients of this norm: `min(1, maxNorm / (norm + 1e-6))`.
 *
 * @param maxNorm 0 and Infinity do not clip.
 */
export function clipScale(norm: number, maxNorm: number): number {
  if (!(maxNorm >= 0)) throw new RangeError(`maxGradNorm: expected a number of at least 0, found ${maxNorm}`);
  if (maxNorm === 0) return 1;
  return Math.min(1, maxNorm / (norm + 1e-6));
}
