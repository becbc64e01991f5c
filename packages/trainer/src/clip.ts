import * as tf from '@tensorflow/tfjs-core';
import type { Parameter } from './policy';

// Bounds the temporary that squaring makes, and the length over which float32 has to sum.
const CHUNK = 1 << 24;

/**
 * The L2 norm of all gradients taken as one vector; a parameter without a gradient counts as zeros. Sums of squares
 * are float32 over at most 2^24 values at a time and float64 beyond. Not finite where a gradient is not, or where a
 * square leaves float32.
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
 * What gradients of this norm are multiplied by, exactly as `torch.nn.utils.clip_grad_norm_` does:
 * `min(1, maxNorm / (norm + 1e-6))`. A `maxNorm` of 0 or Infinity clips nothing.
 */
export function clipScale(norm: number, maxNorm: number): number {
  if (!(maxNorm >= 0)) throw new RangeError(`maxGradNorm must be 0 (no clipping) or more, found ${maxNorm}`);
  if (maxNorm === 0) return 1;
  return Math.min(1, maxNorm / (norm + 1e-6));
}
