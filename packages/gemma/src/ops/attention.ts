import * as tf from '@tensorflow/tfjs-core';
import type { AttentionScale, AttentionSpan, Result } from './kernels';

/**
 * Soft-capped grouped attention, span by span, so that no score is computed that a mask would hide wholesale.
 *
 * q `[N, D, T]`, k and v `[K, D, S]`, G = N / K query heads a key head; in a span of n queries and s keys:
 *   t = tanh(scale · qᵀk / cap), p = softmax(cap · t + mask), o = v · pᵀ
 * and backwards, with dp = doᵀ · v: dscore = p · (dp − Σ_s dp · p) · (1 − t²) · scale (the cap cancels), dq = k · dscoreᵀ,
 * dk = q · dscore, dv = do · p.
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
  keep: boolean,
): Result {
  const [heads, width, tokens] = q.shape;
  const keyHeads = k.shape[0];
  const group = heads / keyHeads;
  const saved: tf.Tensor[] = [];

  const queriesOf = (x: tf.Tensor3D, { row, rows }: AttentionSpan) => {
    const apart = tf.reshape(columns(x, row, rows), [keyHeads, group, width, rows]);
    const beside = group === 1 ? apart : tf.transpose(apart, [0, 2, 1, 3]);
    return tf.reshape(beside, [keyHeads, width, group * rows]) as tf.Tensor3D; // [K, D, G n]
  };
  const asHeads = (x: tf.Tensor, { rows }: AttentionSpan) => {
    const beside = tf.reshape(x, [keyHeads, width, group, rows]);
    const apart = group === 1 ? beside : tf.transpose(beside, [0, 2, 1, 3]);
    return tf.reshape(apart, [heads, width, rows]) as tf.Tensor3D; // [N, D, n]
  };
  const keysOf = (x: tf.Tensor3D, { keys }: AttentionSpan) =>
    inOrder(keys.map((run) => columns(x, run.start, run.length))); // [K, D, s]

  const outputs = spans.map((span) =>
    tf.tidy(() => {
      const scores = tf.matMul(tf.mul(queriesOf(q, span), scale / (cap ?? 1)), keysOf(k, span), true, false);
      const t = cap === null ? scores : tf.tanh(scores); // [K, G n, s]
      const p = tf.softmax(masked(cap === null ? t : tf.mul(t, cap), span)) as tf.Tensor3D;
      if (keep) saved.push(...(cap === null ? [tf.keep(p)] : [tf.keep(p), tf.keep(t)]));
      return asHeads(tf.matMul(keysOf(v, span), p, false, true), span); // [N, D, n]
    }),
  );
  const value = inOrder(outputs);
  if (outputs.length > 1) tf.dispose(outputs);

  const backward = (dy: tf.Tensor3D) =>
    tf.tidy(() => {
      const dk = new KeyGradient(keyHeads, width, k.shape[2]);
      const dv = new KeyGradient(keyHeads, width, k.shape[2]);
      const each = cap === null ? 1 : 2;
      const dqs = spans.map((span, i) =>
        tf.tidy(() => {
          const p = saved[i * each] as tf.Tensor3D;
          const dO = queriesOf(dy, span); // [K, D, G n]
          dv.add(span, tf.matMul(dO, p)); // [K, D, s]
          const through = tf.mul(tf.matMul(dO, keysOf(v, span), true, false), p); // [K, G n, s]
          let ds: tf.Tensor3D = tf.sub(through, tf.mul(p, tf.sum(through, 2, true)));
          if (cap !== null) ds = tf.mul(ds, tf.sub(1, tf.square(saved[i * each + 1]!)));
          dk.add(span, tf.mul(tf.matMul(queriesOf(q, span), ds), scale));
          return asHeads(tf.mul(tf.matMul(keysOf(k, span), ds, false, true), scale), span); // [N, D, n]
        }),
      );
      return [tf.reshape(inOrder(dqs), [heads, width, tokens]), dk.total(), dv.total()];
    });
  return { value, saved, backward };

  /** Scores `[K, G n, s]` with −1e9 added where a query may not look. */
  function masked(scores: tf.Tensor3D, span: AttentionSpan): tf.Tensor3D {
    const mask = spanMask(span);
    if (!mask) return scores;
    const [, , count] = scores.shape;
    const byHead = tf.reshape(scores, [heads, span.rows, count]);
    return tf.reshape(tf.add(byHead, mask), scores.shape);
  }
}

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

  constructor(
    private readonly heads: number,
    private readonly width: number,
    private readonly count: number,
  ) {}

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
    const cuts = [...new Set([0, this.count, ...this.parts.flatMap((p) => [p.start, p.start + p.length])])];
    cuts.sort((a, b) => a - b);
    const whole = tf.tidy(() => {
      const pieces = cuts.slice(1).map((end, i) => {
        const start = cuts[i]!;
        const over = this.parts
          .filter((p) => p.start <= start && end <= p.start + p.length)
          .map((p) => columns(p.gradient, start - p.start, end - start));
        if (over.length === 0) return tf.zeros<tf.Rank.R3>([this.heads, this.width, end - start]);
        return over.length === 1 ? over[0]! : tf.addN(over);
      });
      return inOrder(pieces).clone();
    });
    tf.dispose(this.parts.map((p) => p.gradient));
    return whole;
  }
}
