import * as tf from '@tensorflow/tfjs-core';
import type { Rounding } from './answer-logps';
import type { AttentionOptions, OpResult, QueryBlock } from './contract';

/**
 * Attention one query block at a time. Keys that the causal mask or the window hides from a whole block are not read, and
 * no scores are kept: the backward pass recomputes them.
 *
 * G = N / K query heads share a key-value head. For a block of n queries and s keys:
 *   p = softmax(softcap · tanh(qᵀk · scale / softcap) + mask), o = v · pᵀ
 * Backward: dv = do · p, dp = doᵀ · v, dq = k · dscoreᵀ, dk = q · dscore.
 *
 * The G query heads of a key-value head are placed side by side as G · n columns. One product then computes all of them and
 * sums their dk and dv. Broadcasting the keys over G instead gives wrong results on tfjs's CPU backend, which wraps batch indices.
 *
 * @param roundOperand rounds the operands of products: q, k, v, p, do and dscore
 */
export function attention(
  q: tf.Tensor3D,
  k: tf.Tensor3D,
  v: tf.Tensor3D,
  blocks: readonly QueryBlock[],
  { scale, softcap }: AttentionOptions,
  roundOperand?: Rounding,
): OpResult {
  const round: Rounding = roundOperand ?? ((x) => x);
  // A score's gradient is rounded with the factor of qᵀk in it.
  const roundScores = (ds: tf.Tensor3D): tf.Tensor3D =>
    roundOperand ? tf.div(roundOperand(tf.mul(ds, factor) as tf.Tensor3D), factor) : ds;
  const { group, ungroup } = headGroups(q, k);
  const factor = scale / (softcap ?? 1);
  const outputs = blocks.map((block) =>
    tf.tidy(() => {
      const queries = tf.mul(round(group(q, block)), factor); // [K, D, G n]
      const scores: tf.Tensor3D = tf.matMul(queries, round(gatherKeys(k, block)), true, false); // [K, G n, s]
      const p = round(probabilities(scores, block, softcap)); // [K, G n, s]
      return ungroup(tf.matMul(round(gatherKeys(v, block)), p, false, true), block); // [N, D, n]
    }),
  );
  const output = concatColumns(outputs); // [N, D, T]
  if (outputs.length > 1) tf.dispose(outputs);

  const backward = (dy: tf.Tensor3D) =>
    tf.tidy(() => {
      const [dk, dv] = [new KeyGradient(k.shape), new KeyGradient(k.shape)];
      const dqs = blocks.map((block) =>
        tf.tidy(() => {
          const queries: tf.Tensor3D = tf.mul(round(group(q, block)), factor); // [K, D, G n]
          const keys = round(gatherKeys(k, block)); // [K, D, s]
          const scores: tf.Tensor3D = tf.matMul(queries, keys, true, false); // [K, G n, s]
          const p = probabilities(scores, block, softcap);
          const dO = round(group(dy, block)); // [K, D, G n]
          dv.add(block, tf.matMul(dO, round(p))); // [K, D, s]
          const dp: tf.Tensor3D = tf.matMul(dO, round(gatherKeys(v, block)), true, false); // [K, G n, s]
          const ds = roundScores(scoreGradient(dp, p, scores, softcap));
          dk.add(block, tf.matMul(queries, ds)); // [K, D, s]
          return ungroup(tf.mul(tf.matMul(keys, ds, false, true), factor), block); // [N, D, n]
        }),
      );
      return [concatColumns(dqs).clone(), dk.total(), dv.total()];
    });
  return { output, inputsForBackward: [q, k, v], saved: [], backward };
}

/** Functions that place the query heads of a key-value head side by side, and undo it. */
function headGroups(q: tf.Tensor3D, k: tf.Tensor3D) {
  const [heads, headDim] = q.shape;
  const keyHeads = k.shape[0];
  const groupSize = heads / keyHeads;
  return {
    /** A block's columns of x: `[N, D, T]` → `[K, D, G n]`. */
    group(x: tf.Tensor3D, { start, count }: QueryBlock): tf.Tensor3D {
      const byHead = tf.reshape(columns(x, start, count), [keyHeads, groupSize, headDim, count]);
      const sideBySide = groupSize === 1 ? byHead : tf.transpose(byHead, [0, 2, 1, 3]);
      return tf.reshape(sideBySide, [keyHeads, headDim, groupSize * count]);
    },
    /** `[K, D, G n]` → `[N, D, n]`. */
    ungroup(x: tf.Tensor, { count }: QueryBlock): tf.Tensor3D {
      const sideBySide = tf.reshape(x, [keyHeads, headDim, groupSize, count]);
      const byHead = groupSize === 1 ? sideBySide : tf.transpose(sideBySide, [0, 2, 1, 3]);
      return tf.reshape(byHead, [heads, headDim, count]);
    },
  };
}

/** A block's keys (or values): `[K, D, S]` → `[K, D, s]`. */
const gatherKeys = (x: tf.Tensor3D, { keyRanges }: QueryBlock) =>
  concatColumns(keyRanges.map(({ start, count }) => columns(x, start, count)));

/** softmax(softcap · tanh(scores) + mask); softmax(scores + mask) without a cap: `[K, G n, s]`. */
const probabilities = (scores: tf.Tensor3D, block: QueryBlock, softcap: number | null) =>
  tf.tidy(() => {
    const capped = softcap === null ? scores : tf.mul(tf.tanh(scores), softcap);
    const mask = attentionMask(block);
    if (!mask) return tf.softmax(capped) as tf.Tensor3D;
    const byHead = tf.reshape(capped, [-1, ...mask.shape]); // [N, n, s]
    return tf.reshape(tf.softmax(tf.add(byHead, mask)), scores.shape) as tf.Tensor3D;
  });

/** dscores = p · (dp − Σ_s dp · p), times softcap · (1 − tanh²) with a cap: `[K, G n, s]`. */
const scoreGradient = (dp: tf.Tensor3D, p: tf.Tensor3D, scores: tf.Tensor3D, softcap: number | null): tf.Tensor3D =>
  tf.tidy(() => {
    const weighted = tf.mul(dp, p);
    const ds: tf.Tensor3D = tf.sub(weighted, tf.mul(p, tf.sum(weighted, 2, true)));
    return softcap === null ? ds : tf.mul(ds, tf.mul(tf.sub(1, tf.square(tf.tanh(scores))), softcap));
  });

const columns = (x: tf.Tensor3D, start: number, count: number) =>
  start === 0 && count === x.shape[2] ? x : tf.slice(x, [0, 0, start], [-1, -1, count]);

/** Joins along the last axis; returns a single part as it is. */
const concatColumns = (parts: tf.Tensor3D[]) => (parts.length === 1 ? parts[0]! : tf.concat(parts, 2));

/** `[n, s]`: 0 where a query sees a key, −1e9 elsewhere; null if every query sees every key. */
function attentionMask({ count, keyRanges, positionOffset, window }: QueryBlock): tf.Tensor2D | null {
  const keys = keyRanges.reduce((total, range) => total + range.count, 0);
  // The causal mask is tightest at the first query, the window at the last one.
  if (keys - 1 <= positionOffset && positionOffset + count - 1 < window) return null;
  const mask = new Float32Array(count * keys);
  for (let i = 0; i < count; i++) {
    for (let j = 0; j < keys; j++) {
      const distance = positionOffset + i - j;
      if (distance < 0 || distance >= window) mask[i * keys + j] = -1e9;
    }
  }
  return tf.tensor2d(mask, [count, keys]);
}

/** The gradient of all keys (or values), summed from the blocks' gradients of their key ranges. */
class KeyGradient {
  private readonly parts: { start: number; count: number; gradient: tf.Tensor3D }[] = [];

  constructor(private readonly shape: readonly [heads: number, headDim: number, keys: number]) {}

  /** Adds the gradient `[K, D, s]` of a block's keys. */
  add({ keyRanges }: QueryBlock, gradient: tf.Tensor3D): void {
    let offset = 0;
    for (const { start, count } of keyRanges) {
      this.parts.push({ start, count, gradient: tf.keep(columns(gradient, offset, count)) });
      offset += count;
    }
  }

  /** The sum `[K, D, S]`, zero at keys of no block. Disposes the parts. */
  total(): tf.Tensor3D {
    // Between neighbouring range boundaries, each part covers either every column or none.
    const [heads, headDim, keys] = this.shape;
    const boundaries = [...new Set([0, keys, ...this.parts.flatMap((p) => [p.start, p.start + p.count])])];
    boundaries.sort((a, b) => a - b);
    const total = tf.tidy(() => {
      const pieces = boundaries.slice(1).map((end, i) => {
        const start = boundaries[i]!;
        const covering = this.parts
          .filter((p) => p.start <= start && end <= p.start + p.count)
          .map((p) => columns(p.gradient, start - p.start, end - start));
        if (covering.length === 0) return tf.zeros<tf.Rank.R3>([heads, headDim, end - start]);
        return covering.length === 1 ? covering[0]! : tf.addN(covering);
      });
      return concatColumns(pieces).clone();
    });
    tf.dispose(this.parts.map((p) => p.gradient));
    return total;
  }
}
