import * as tf from '@tensorflow/tfjs-core';
import { addGradient } from './add-gradient';
import type { AnswerLogps, Pause, Weight } from './contract';
import { oneHot, sumRows } from './sum-rows';

/** Rounds an operand of a product. */
export type Rounding = <T extends tf.Tensor>(x: T) => T;

/** Logits per chunk: 64 MB of float32 for each of a chunk's few temporaries. */
const CHUNK_VALUES = 1 << 24;

/** softcap · tanh(h · Eᵀ / softcap), or h · Eᵀ without a cap: `[A, H]`, `[V, H]` → `[A, V]`. */
export const logits = (
  hidden: tf.Tensor2D,
  weight: Weight,
  softcap: number | null,
  round: Rounding = (x) => x,
): tf.Tensor2D =>
  tf.tidy(() => {
    const raw = tf.matMul(round(hidden), round(weight.value() as tf.Tensor2D), false, true);
    return (softcap === null ? raw : tf.mul(tf.tanh(tf.div(raw, softcap)), softcap)) as tf.Tensor2D;
  });

/**
 * Log-probs and alignment terms of `targets` `[A]`, one chunk of rows at a time. The backward pass recomputes a chunk's
 * logits, so that neither pass holds `[A, V]`.
 *
 * With the logits l: log p = l_target − lse(l), log Σ p² = lse(2l) − 2 lse(l), log max p = max l − lse(l), and
 * d log p / d raw = (onehot − p) (1 − (l / softcap)²).
 */
export async function answerLogps(
  hidden: tf.Tensor2D,
  weight: Weight,
  targets: Int32Array,
  softcap: number | null,
  _requiresGrad: boolean,
  pause?: Pause,
  round?: Rounding,
): Promise<AnswerLogps> {
  const answerTokens = hidden.shape[0];
  const vocabulary = weight.shape[0]!;
  const chunkRows = Math.max(1, Math.floor(CHUNK_VALUES / vocabulary));
  const starts = Array.from({ length: Math.ceil(answerTokens / chunkRows) }, (_, i) => i * chunkRows);
  const chunk = (x: tf.Tensor2D, start: number) =>
    tf.slice(x, [start, 0], [Math.min(chunkRows, answerTokens - start), x.shape[1]]);
  const targetsOf = (start: number) => tf.tensor1d(targets.subarray(start, start + chunkRows), 'int32');

  const terms = await inChunks(starts, pause, (start) =>
    tf.tidy(() => {
      const l = logits(chunk(hidden, start), weight, softcap, round); // [a, V]
      const lse = tf.logSumExp(l, 1); // [a]
      return [
        tf.sub(gatherColumns(l, targetsOf(start)), lse),
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

  const backward = async (dLogps: tf.Tensor1D) => {
    const gradients = await inChunks(starts, pause, (start) => {
      const rows = chunk(hidden, start); // [a, H]
      const d: tf.Tensor2D = tf.tidy(() => tf.reshape(tf.slice(dLogps, [start], [rows.shape[0]]), [-1, 1])); // [a, 1]
      const gradient = round ? roundedGradient(round) : exactGradient;
      const dRows = gradient({ rows, d, targets: targetsOf(start), weight, softcap });
      tf.dispose([rows, d]);
      return dRows;
    });
    const dHidden = tf.concat(gradients) as tf.Tensor2D; // [A, H]
    tf.dispose(gradients);
    return dHidden;
  };
  return { logps, logSumSquares, logMax, backward, dispose() {} };
}

/** A chunk of answer rows `[a, H]`, and d loss / d logps of these rows. */
interface ChunkOfRows {
  readonly rows: tf.Tensor2D;
  /** `[a, 1]` */
  readonly d: tf.Tensor2D;
  /** `[a]` */
  readonly targets: tf.Tensor1D;
  readonly weight: Weight;
  readonly softcap: number | null;
}

/** 1 − (l / softcap)², or 1 without a cap. */
const capSlope = (l: tf.Tensor2D, softcap: number | null): tf.Tensor2D =>
  softcap === null ? tf.onesLike(l) : tf.sub(1, tf.square(tf.div(l, softcap)));

/** Adds the weight's gradient and returns that of the rows `[a, H]`. */
function exactGradient({ rows, d, targets, weight, softcap }: ChunkOfRows): tf.Tensor {
  const dRaw = tf.tidy(() => {
    const l = logits(rows, weight, softcap); // [a, V]
    const dl = tf.mul(tf.sub(oneHot(targets, weight.shape[0]!), tf.softmax(l)), d);
    return softcap === null ? dl : tf.mul(dl, capSlope(l, softcap));
  }) as tf.Tensor2D; // [a, V]
  addGradient(weight, () => tf.matMul(dRaw, rows, true, false)); // [V, H]
  const dRows = tf.matMul(dRaw, weight.value() as tf.Tensor2D); // [a, H]
  tf.dispose([dRaw, targets]);
  return dRows;
}

/** The same with rounded operands. The targets' own terms are no products: they are not rounded. */
const roundedGradient =
  (round: Rounding) =>
  ({ rows, d, targets, weight, softcap }: ChunkOfRows): tf.Tensor => {
    const { D, c } = tf.tidy(() => {
      const l = logits(rows, weight, softcap, round); // [a, V]
      const slope = capSlope(l, softcap);
      return { D: round(tf.mul(tf.softmax(l), slope)), c: tf.reshape(gatherColumns(slope, targets), [-1, 1]) };
    });
    addGradient(weight, () => {
      const scaled = tf.mul(rows, d) as tf.Tensor2D; // [a, H]
      const atTargets = sumRows(tf.mul(scaled, c), targets, weight.shape[0]!); // [V, H]
      return tf.sub(atTargets, tf.matMul(D, round(scaled), true, false));
    });
    const dRows = tf.tidy(() => {
      const E = weight.value() as tf.Tensor2D;
      return tf.mul(tf.sub(tf.mul(tf.gather(E, targets), c), tf.matMul(D, round(E))), d);
    });
    tf.dispose([D, c, targets]);
    return dRows;
  };

/** Runs `compute` for each chunk, with pauses between them. */
async function inChunks<T extends tf.Tensor | tf.Tensor[]>(
  starts: readonly number[],
  pause: Pause | undefined,
  compute: (start: number) => T,
): Promise<T[]> {
  const results: T[] = [];
  try {
    for (const start of starts) {
      if (start > 0) await pause?.();
      results.push(compute(start));
    }
    return results;
  } catch (error) {
    for (const result of results) tf.dispose(result);
    throw error;
  }
}

/** x[i, columns[i]]: `[a, V]`, `[a]` → `[a]`. */
const gatherColumns = (x: tf.Tensor2D, columns: tf.Tensor1D) =>
  tf.gatherND(x, tf.stack([tf.range(0, x.shape[0], 1, 'int32'), columns], 1)) as tf.Tensor1D;
