import * as tf from '@tensorflow/tfjs-core';
import type { AnswerLogps, Weight } from './kernels';

/** Logits held at once, in values: 64 MB in float32 for each of the few tensors of a chunk. */
const CHUNK_VALUES = 1 << 24;

/** cap · tanh(h · Eᵀ / cap), or h · Eᵀ without a cap: `[A, H]`, `[V, H]` → `[A, V]`. */
export const logits = (hidden: tf.Tensor2D, table: Weight, cap: number | null): tf.Tensor2D =>
  tf.tidy(() => {
    const raw = tf.matMul(hidden, table.value() as tf.Tensor2D, false, true);
    return (cap === null ? raw : tf.mul(tf.tanh(tf.div(raw, cap)), cap)) as tf.Tensor2D;
  });

/**
 * Log-probs of `targets` `[A]`, and log Σ p² and log max p beside them, a chunk of rows at a time; the backward pass
 * computes a chunk's logits again, so that neither pass ever holds `[A, V]`.
 *
 * With l the capped logits: log p = l_target − lse(l), log Σ p² = lse(2l) − 2 lse(l), log max p = max l − lse(l), and
 * d log p / d raw = (onehot − p) (1 − (l / cap)²).
 */
export function answerLogps(
  hidden: tf.Tensor2D,
  table: Weight,
  targets: Int32Array,
  cap: number | null,
  _train: boolean,
): AnswerLogps {
  const answers = hidden.shape[0];
  const vocabulary = table.shape[0]!;
  const perChunk = Math.max(1, Math.floor(CHUNK_VALUES / vocabulary));
  const starts = Array.from({ length: Math.ceil(answers / perChunk) }, (_, i) => i * perChunk);
  const chunk = (x: tf.Tensor2D, start: number) =>
    tf.slice(x, [start, 0], [Math.min(perChunk, answers - start), x.shape[1]]);
  const targetsOf = (start: number) => tf.tensor1d(targets.subarray(start, start + perChunk), 'int32');

  const terms = starts.map((start) =>
    tf.tidy(() => {
      const l = logits(chunk(hidden, start), table, cap); // [a, V]
      const lse = tf.logSumExp(l, 1);
      return [
        tf.sub(pick(l, targetsOf(start)), lse),
        tf.sub(tf.logSumExp(tf.mul(l, 2), 1), tf.mul(lse, 2)),
        tf.sub(tf.max(l, 1), lse),
      ] as tf.Tensor1D[];
    }),
  );
  const [logps, logSumSquares, logMax] = [0, 1, 2].map((i) => {
    const parts = terms.map((term) => term[i]!);
    const whole = tf.concat(parts);
    tf.dispose(parts);
    return whole as tf.Tensor1D;
  }) as [tf.Tensor1D, tf.Tensor1D, tf.Tensor1D];

  const backward = (dLogps: tf.Tensor1D) => {
    const gradients = starts.map((start) => {
      const rows = chunk(hidden, start); // [a, H]
      const dRaw = tf.tidy(() => {
        const l = logits(rows, table, cap);
        const d = tf.reshape(tf.slice(dLogps, [start], [rows.shape[0]]), [-1, 1]); // [a, 1]
        const dl = tf.mul(tf.sub(tf.oneHot(targetsOf(start), vocabulary, 1, 0, 'float32'), tf.softmax(l)), d);
        return cap === null ? dl : tf.mul(dl, tf.sub(1, tf.square(tf.div(l, cap))));
      }) as tf.Tensor2D; // [a, V]
      table.accumulate(tf.matMul(dRaw, rows, true, false)); // [V, H]
      const dRows = tf.matMul(dRaw, table.value() as tf.Tensor2D); // [a, H]
      tf.dispose([rows, dRaw]);
      return dRows;
    });
    const whole = tf.concat(gradients) as tf.Tensor2D;
    tf.dispose(gradients);
    return whole;
  };
  return { logps, logSumSquares, logMax, backward, dispose() {} };
}

/** x[i, columns[i]]: `[a, V]`, `[a]` → `[a]`. */
const pick = (x: tf.Tensor2D, columns: tf.Tensor1D) =>
  tf.gatherND(x, tf.stack([tf.range(0, x.shape[0], 1, 'int32'), columns], 1)) as tf.Tensor1D;
