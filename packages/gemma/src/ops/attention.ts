import * as tf from '@tensorflow/tfjs-core';
import type { AttentionScale, AttentionSpan, Result } from './kernels';

/**
 * Attention span by span, so that no score is computed that a mask would hide wholesale, and none is kept: the backward pass
 * computes a span's scores again.
 *
 * G = N / K query heads a key head; in a span of n queries and s keys:
 *   p = softmax(cap · tanh(qᵀk · scale / cap) + mask), o = v · pᵀ
 * and backwards: dv = do · p, dp = doᵀ · v, dq = k · dscoreᵀ, dk = q · dscore.
 *
 * The G heads that share a key head lie side by side as G · n columns: one product serves them all, and sums their dk and
 * dv. (Broadcasting keys over G instead goes wrong on tfjs's CPU backend, which wraps batch indices around.)
 */
export function attention(
  q: tf.Tensor3D,
  k: tf.Tensor3D,
  v: tf.Tensor3D,
  spans: readonly AttentionSpan[],
  { scale, cap }: AttentionScale,
): Result {
  const { queriesOf, asHeads } = grouped(q, k);
  const factor = scale / (cap ?? 1);
  const outputs = spans.map((span) =>
    tf.tidy(() => {
      const queries = tf.mul(queriesOf(q, span), factor);
      const scores: tf.Tensor3D = tf.matMul(queries, keysOf(k, span), true, false); // [K, G n, s]
      return asHeads(tf.matMul(keysOf(v, span), probabilities(scores, span, cap), false, true), span); // [N, D, n]
    }),
  );
  const value = inOrder(outputs);
  if (outputs.length > 1) tf.dispose(outputs);

  const backward = (dy: tf.Tensor3D) =>
    tf.tidy(() => {
      const [dk, dv] = [new KeyGradient(k.shape), new KeyGradient(k.shape)];
      const dqs = spans.map((span) =>
        tf.tidy(() => {
          const queries: tf.Tensor3D = tf.mul(queriesOf(q, span), factor); // [K, D, G n]
          const keys = keysOf(k, span);
          const scores: tf.Tensor3D = tf.matMul(queries, keys, true, false); // [K, G n, s]
          const p = probabilities(scores, span, cap);
          const dO = queriesOf(dy, span); // [K, D, G n]
          dv.add(span, tf.matMul(dO, p)); // [K, D, s]
          const dp: tf.Tensor3D = tf.matMul(dO, keysOf(v, span), true, false); // [K, G n, s]
          const ds = scoreGradient(dp, p, scores, cap);
          dk.add(span, tf.matMul(queries, ds));
          return asHeads(tf.mul(tf.matMul(keys, ds, false, true), factor), span); // [N, D, n]
        }),
      );
      return [inOrder(dqs).clone(), dk.total(), dv.total()];
    });
  return { value, reads: [q, k, v], saved: [], backward };
}

/** A span's columns with the heads that share a key head side by side, and back. */
function grouped(q: tf.Tensor3D, k: tf.Tensor3D) {
  const [heads, width] = q.shape;
  const keyHeads = k.shape[0];
  const group = heads / keyHeads;
  return {
    queriesOf(x: tf.Tensor3D, { row, rows }: AttentionSpan): tf.Tensor3D {
      const apart = tf.reshape(columns(x, row, rows), [keyHeads, group, width, rows]);
      const beside = group === 1 ? apart : tf.transpose(apart, [0, 2, 1, 3]);
      return tf.reshape(beside, [keyHeads, width, group * rows]); // [K, D, G n]
    },
    asHeads(x: tf.Tensor, { rows }: AttentionSpan): tf.Tensor3D {
      const beside = tf.reshape(x, [keyHeads, width, group, rows]);
      const apart = group === 1 ? beside : tf.transpose(beside, [0, 2, 1, 3]);
      return tf.reshape(apart, [heads, width, rows]); // [N, D, n]
    },
  };
}

/** `[K, D, s]`. */
const keysOf = (x: tf.Tensor3D, { keys }: AttentionSpan) =>
  inOrder(keys.map((run) => columns(x, run.start, run.length)));

/** softmax(cap · tanh(scores)) where the span lets a query look, 0 elsewhere: `[K, G n, s]`; without a cap, softmax(scores). */
const probabilities = (scores: tf.Tensor3D, span: AttentionSpan, cap: number | null) =>
  tf.tidy(() => {
    const raised = cap === null ? scores : tf.mul(tf.tanh(scores), cap);
    const mask = spanMask(span);
    if (!mask) return tf.softmax(raised) as tf.Tensor3D;
    const byHead = tf.reshape(raised, [-1, ...mask.shape]); // [N, n, s]
    return tf.reshape(tf.softmax(tf.add(byHead, mask)), scores.shape) as tf.Tensor3D;
  });

/** dscores = p · (dp − Σ_s dp · p), times cap · (1 − tanh²) through a cap. */
const scoreGradient = (dp: tf.Tensor3D, p: tf.Tensor3D, scores: tf.Tensor3D, cap: number | null) =>
  tf.tidy(() => {
    const through = tf.mul(dp, p);
    const ds: tf.Tensor3D = tf.sub(through, tf.mul(p, tf.sum(through, 2, true)));
    return cap === null ? ds : tf.mul(ds, tf.mul(tf.sub(1, tf.square(tf.tanh(scores))), cap));
  });

const columns = (x: tf.Tensor3D, start: number, length: number) =>
  start === 0 && length === x.shape[2] ? x : tf.slice(x, [0, 0, start], [-1, -1, length]);

/** Runs of columns side by side; a lone one as it is. */
const inOrder = (parts: tf.Tensor3D[]) => (parts.length === 1 ? parts[0]! : tf.concat(parts, 2));

/** 0 where a query may see a key, −1e9 elsewhere, `[n, s]`; null where it may see all. */
function spanMask({ rows, keys, lead, window }: AttentionSpan): tf.Tensor2D | null {
  const count = keys.reduce((total, run) => total + run.length, 0);
  // The first query sees the fewest keys ahead, the last one the fewest behind.
  if (count - 1 <= lead && lead + rows - 1 < window) return null;
  const mask = new Float32Array(rows * count);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < count; j++) {
      const back = lead + i - j;
      if (back < 0 || back >= window) mask[i * count + j] = -1e9;
    }
  }
  return tf.tensor2d(mask, [rows, count]);
}

/** The gradient of keys or values: spans add to runs of its columns; joined once at the end. */
class KeyGradient {
  private readonly parts: { start: number; length: number; gradient: tf.Tensor3D }[] = [];

  constructor(private readonly shape: readonly [heads: number, width: number, count: number]) {}

  /** `gradient` `[K, D, s]` of the span's keys. */
  add(span: AttentionSpan, gradient: tf.Tensor3D): void {
    let at = 0;
    for (const { start, length } of span.keys) {
      this.parts.push({ start, length, gradient: tf.keep(columns(gradient, at, length)) });
      at += length;
    }
  }

  /** `[K, D, S]`: zero where no span looked. Ends the collection. */
  total(): tf.Tensor3D {
    // Cut the columns at every run's ends: within a piece each run covers all or nothing.
    const [heads, width, count] = this.shape;
    const cuts = [...new Set([0, count, ...this.parts.flatMap((p) => [p.start, p.start + p.length])])];
    cuts.sort((a, b) => a - b);
    const whole = tf.tidy(() => {
      const pieces = cuts.slice(1).map((end, i) => {
        const start = cuts[i]!;
        const over = this.parts
          .filter((p) => p.start <= start && end <= p.start + p.length)
          .map((p) => columns(p.gradient, start - p.start, end - start));
        if (over.length === 0) return tf.zeros<tf.Rank.R3>([heads, width, end - start]);
        return over.length === 1 ? over[0]! : tf.addN(over);
      });
      return inOrder(pieces).clone();
    });
    tf.dispose(this.parts.map((p) => p.gradient));
    return whole;
  }
}
