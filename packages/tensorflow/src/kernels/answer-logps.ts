import * as tf from '@tensorflow/tfjs-core';
import type { AnswerLogps, Kernels, Weight } from '@wpo/gemma';

// H hidden width, V vocabulary, A answer tokens, a those of a chunk.

/** How many logits there are at once, in values. */
export interface LogitLimits {
  /** Made at once in training. */
  readonly train: number;
  /** Made at once where no gradient is asked for. */
  readonly forward: number;
  /** Whose gradient stays for the way back; that of the others is made again. */
  readonly kept: number;
}

/**
 * Of a chunk of answer rows `[a, H]`: log p, log Σ p², log max p and c as `terms` `[a, 4]`, and D as `dense` `[a, V]`,
 * which may be left out where it is not to `train`; c and D as below.
 */
export type TermsOfLogits = (
  hidden: tf.Tensor2D,
  table: tf.Tensor2D,
  targets: Int32Array,
  cap: number | null,
  train: boolean,
) => { readonly terms: tf.Tensor2D; readonly dense?: tf.Tensor2D };

/** A chunk of answer rows: where it starts, and −d log p / d raw without the target's part, `[a, V]`, where kept. */
interface Chunk {
  readonly start: number;
  readonly rows: number;
  readonly dense?: tf.Tensor2D;
}

/**
 * `Kernels.answerLogps` over its parts: log p, both alignment terms and the logits' gradient come of one
 * computation of the logits. As much of the gradient as `limits` allow is kept for the way back, the rest computed again.
 *
 * With D = p (1 − (l / cap)²) and c = 1 − (l_target / cap)²: d log p / d raw = c · onehot − D, so
 * dh = d · (c · E[target] − D · E) and dE = −Dᵀ · (d · h), plus d · c · h at the targets' rows.
 */
export const answerLogpsWith =
  (parts: HeadParts, limits: LogitLimits): Kernels['answerLogps'] =>
  (hidden: tf.Tensor2D, table, targets, cap, train) =>
    answerLogps(parts, limits, hidden, table, targets, cap, train);

/** What the head is made of. */
export interface HeadParts {
  readonly termsOf: TermsOfLogits;
  /** Of two matrices, either of them turned. */
  readonly product: (a: tf.Tensor2D, b: tf.Tensor2D, turnA?: boolean, turnB?: boolean) => tf.Tensor2D;
  readonly pick: (x: tf.Tensor2D, indices: Int32Array, factor: number) => tf.Tensor2D;
}

function answerLogps(
  { termsOf, product, pick }: HeadParts,
  limits: LogitLimits,
  hidden: tf.Tensor2D,
  table: Weight,
  targets: Int32Array,
  cap: number | null,
  train: boolean,
): AnswerLogps {
  const answers = hidden.shape[0];
  const vocabulary = table.shape[0]!;
  const embedding = () => table.value() as tf.Tensor2D;
  const perChunk = Math.max(1, Math.floor(limits[train ? 'train' : 'forward'] / vocabulary));
  const slice = (x: tf.Tensor2D, { start, rows }: { start: number; rows: number }) =>
    rows === answers ? x.clone() : tf.slice(x, [start, 0], [rows, x.shape[1]]);

  /** Terms `[a, 4]` and D `[a, V]` of a chunk. */
  const compute = (start: number, rows: number) =>
    tf.tidy(() =>
      termsOf(slice(hidden, { start, rows }), embedding(), targets.subarray(start, start + rows), cap, train),
    );

  const chunks: Chunk[] = [];
  const parts: tf.Tensor2D[] = [];
  let kept = 0;
  for (let start = 0; start < answers; start += perChunk) {
    const rows = Math.min(perChunk, answers - start);
    const { terms, dense } = compute(start, rows);
    const keep = train && (start === 0 || kept + rows * vocabulary <= limits.kept);
    if (keep) kept += rows * vocabulary;
    else dense?.dispose();
    chunks.push({ start, rows, dense: keep ? dense : undefined });
    parts.push(terms);
  }
  const terms = tf.concat(parts); // [A, 4]
  tf.dispose(parts);
  const column = (i: number) =>
    tf.tidy(() => tf.reshape(tf.slice(terms, [0, i], [answers, 1]), [answers]) as tf.Tensor1D);
  const [logps, logSumSquares, logMax] = [column(0), column(1), column(2)];
  const targetSlope = tf.slice(terms, [0, 3], [answers, 1]); // c [A, 1]
  terms.dispose();

  return {
    logps,
    logSumSquares,
    logMax,
    backward(dLogps: tf.Tensor1D) {
      const d = tf.reshape(dLogps, [answers, 1]); // [A, 1]
      const scaled = tf.mul(hidden, d) as tf.Tensor2D; // d · h [A, H]
      const dHidden = chunks.map(({ start, rows, dense }) => {
        const D = dense ?? denseAgain(start, rows);
        const dE = tf.tidy(() => product(D, tf.neg(slice(scaled, { start, rows })), true, false)); // [V, H]
        table.accumulate(dE);
        const through = product(D, embedding()); // [a, H]
        if (!dense) D.dispose();
        return through;
      });
      const atTargets = tf.mul(scaled, targetSlope); // [A, H]
      table.accumulateRows(targets, atTargets);
      const result = tf.tidy(() => {
        const own = tf.mul(pick(embedding(), targets, 1), targetSlope);
        return tf.mul(tf.sub(own, tf.concat(dHidden)), d) as tf.Tensor2D;
      });
      tf.dispose([d, scaled, atTargets, ...dHidden]);
      return result;
    },
    dispose() {
      tf.dispose(chunks.splice(0).flatMap(({ dense }) => (dense ? [dense] : [])));
      targetSlope.dispose();
    },
  };

  function denseAgain(start: number, rows: number): tf.Tensor2D {
    const { terms: again, dense } = compute(start, rows);
    again.dispose();
    return dense!;
  }
}
