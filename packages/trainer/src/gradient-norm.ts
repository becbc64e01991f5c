import * as tf from '@tensorflow/tfjs-core';
import type { Parameter } from './policy';

/** Bounds the temporary tensor of squares, and the number of values that float32 sums. */
const CHUNK = 1 << 24;

/**
 * The L2 norm of all gradients as one vector. A parameter without a gradient counts as zeros. Sums of squares are float32 over at
 * most 2^24 values, and float64 beyond. The norm is not finite where a gradient is not, or where a square overflows float32.
 */
export async function gradientNorm(parameters: readonly Parameter[]): Promise<number> {
  const sums = tf.tidy(() => {
    const gradients = parameters.map((parameter) => parameter.gradient()).filter((gradient) => gradient !== null);
    const squares = gradients.flatMap(sumsOfSquares);
    return squares.length > 0 ? tf.stack(squares) : tf.zeros([1]);
  });
  try {
    let total = 0;
    for (const sum of await sums.data()) total += sum;
    return Math.sqrt(total);
  } finally {
    sums.dispose();
  }
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
