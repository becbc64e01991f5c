import * as tf from '@tensorflow/tfjs-core';
import type { TermsOfLogits } from '../answer-logps';
import { operate } from './operation';

// a answer tokens, V vocabulary.

/**
 * With t = tanh(raw / cap), l = cap t (without a cap l = t = raw) and p = softmax(l): log max p and log Σ p² are taken of p
 * itself, for neither max p nor Σ p² can be below 1 / V; log p = l_target − max l + log max p, where p may be too small for
 * float32.
 */
export const termsOfLogits: TermsOfLogits = (hidden, table, targets, cap, train) =>
  tf.tidy(() => {
    const t = capped(hidden, table, cap); // [a, V]
    const p = tf.tidy(() => tf.softmax(cap === null ? t : tf.mul(t, cap))) as tf.Tensor2D;
    const logMax = tf.log(tf.max(p, 1));
    const logSumSquares = tf.log(tf.tidy(() => tf.sum(tf.square(p), 1)));
    const tTarget = pick(t, targets); // [a]
    const above = tf.sub(tTarget, tf.max(t, 1));
    const logps = tf.add(cap === null ? above : tf.mul(above, cap), logMax);
    const slope = cap === null ? tf.onesLike(tTarget) : tf.sub(1, tf.square(tTarget));
    const dense = train ? denseOf(t, p, cap) : undefined;
    return { terms: tf.stack([logps, logSumSquares, logMax, slope], 1) as tf.Tensor2D, dense };
  });

/** tanh(h · Eᵀ / cap), the division done where there is least of it. */
const capped = (hidden: tf.Tensor2D, table: tf.Tensor2D, cap: number | null) =>
  tf.tidy(() =>
    cap === null
      ? tf.matMul(hidden, table, false, true)
      : tf.tanh(tf.matMul(tf.div(hidden, cap) as tf.Tensor2D, table, false, true)),
  ) as tf.Tensor2D;

/** p (1 − t²), or p without a cap. */
const denseOf = (t: tf.Tensor2D, p: tf.Tensor2D, cap: number | null) =>
  (cap === null ? p : operate('TanhGrad', [t, p])) as tf.Tensor2D;

/** x[i, columns[i]]: `[a, V]` → `[a]`. */
function pick(x: tf.Tensor2D, columns: Int32Array): tf.Tensor1D {
  const at = Int32Array.from({ length: 2 * columns.length }, (_, i) => (i % 2 === 0 ? i / 2 : columns[(i - 1) / 2]!));
  return tf.gatherND(x, tf.tensor2d(at, [columns.length, 2], 'int32')) as tf.Tensor1D;
}
