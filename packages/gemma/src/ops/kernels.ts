import type { Tensor, Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import { answerLogps, logits } from './answer-logps';
import { attention } from './attention';
import { gatedLinear } from './gated-linear';
import { linear, linearFromHeads, linearToHeads } from './linear';
import { rmsNorm } from './rms-norm';
import { rope, rotation } from './rope';
import { addRows, embed, rows, setColumns, sum } from './shape';

/** What flows between operations. Only the kernels that made a value know what it holds; the model sees its shape. */
export interface Value {
  readonly shape: readonly number[];
  /** A second handle on the same data, freed by itself. */
  clone(): Value;
  dispose(): void;
}

/** A trainable tensor as kernels use it: read in the forward pass, given a gradient in the backward pass. */
export interface Weight {
  readonly name: string;
  readonly shape: readonly number[];
  /** The value, owned by the weight. */
  value(): Value;
  /** Adds to the weight's gradient; takes ownership. */
  accumulate(gradient: Value): void;
  /** Adds rows `[n, H]` to the gradient's rows at `indices`, which may repeat. */
  accumulateRows(indices: Int32Array, rows: Value): void;
}

/** An operation that has run: its result, and how a gradient goes back to its inputs. */
export interface Result {
  readonly value: Value;
  /** Which of the inputs `backward` reads: the others may be freed before. It never reads the result. */
  readonly reads: readonly Value[];
  /** What `backward` needs beyond that; whoever keeps the result frees it. */
  readonly saved: readonly Value[];
  /** d loss / d input for each input, from `dy` = d loss / d value; adds the weights' gradients. Frees neither. */
  backward(dy: Value): Value[];
}

/** The answers' log-probs under the model, and how their gradient goes back; all `[A]`, float32. */
export interface AnswerLogps {
  /** Frees what `backward` would have needed; safe to call twice, and after it. */
  dispose(): void;
  readonly logps: Tensor1D;
  readonly logSumSquares: Tensor1D;
  readonly logMax: Tensor1D;
  /** d loss / d hidden `[A, H]` from d loss / d logps `[A]`; adds the table's gradient. */
  backward(dLogps: Tensor1D): Value;
}

/** Rotary tables for a run of positions. */
export interface Rotation {
  /** Half the head width: dimension i turns together with i + half. */
  readonly half: number;
  /** `[2 · half, T]`: cos, the halves alike. */
  readonly cos: Value;
  /** `[2 · half, T]`: −sin in the first half, +sin in the second. */
  readonly sin: Value;
}

/** A run of query rows and the keys that they may see: at most `window` positions back, never ahead. */
export interface AttentionSpan {
  /** First query column and how many. */
  readonly row: number;
  readonly rows: number;
  /** Runs of key columns, whose positions follow on from each other. */
  readonly keys: readonly { readonly start: number; readonly length: number }[];
  /** Position of the first query less position of the first key. */
  readonly lead: number;
  readonly window: number;
}

export interface AttentionScale {
  /** Scores are q·k times this (1 / √query_pre_attn_scalar). */
  readonly scale: number;
  /** Soft cap of the scores, cap · tanh(score / cap); null for none. */
  readonly cap: number | null;
}

/**
 * The operations that Gemma-2 is made of, and so all that a faster or smaller implementation has to give.
 *
 * Letters: T tokens, H hidden width, N query heads, K key heads, D head width, S keys, V vocabulary, A answer tokens.
 * Values between heads lie feature-major, `[heads, D, T]`, so that no projection needs a transpose.
 */
export interface Kernels {
  /** Rows of `table` `[V, H]` at `ids`, times `scale`: `[T, H]`. */
  embed(table: Weight, ids: Int32Array, scale: number): Result;
  /** x · wᵀ for `w` `[out, in]`: `[T, in]` → `[T, out]`. */
  linear(x: Value, w: Weight): Result;
  /** The same into heads: `[T, H]` → `[heads, D, T]`. */
  linearToHeads(x: Value, w: Weight, heads: number): Result;
  /** The same out of heads: `[N, D, T]` → `[T, out]`. */
  linearFromHeads(x: Value, w: Weight): Result;
  /** residual + x / rms(x) · (1 + w), over rows: `[T, H]` → `[T, H]`. */
  rmsNorm(x: Value, w: Weight, epsilon: number, residual?: Value): Result;
  /** Rotates each head's halves by position: `[heads, D, T]` → the same. */
  rope(x: Value, rotation: Rotation): Result;
  /** softmax(cap(q·k)) · v within spans: `[N, D, T]`, `[K, D, S]`, `[K, D, S]` → `[N, D, T]`. */
  attention(q: Value, k: Value, v: Value, spans: readonly AttentionSpan[], scale: AttentionScale): Result;
  /** (gelu_tanh(gate) · up) · wᵀ: `[T, F]`, `[T, F]` → `[T, H]`. */
  gatedLinear(gate: Value, up: Value, w: Weight): Result;
  /** Rows of x at `indices`, which may repeat: `[T, H]` → `[A, H]`. */
  rows(x: Value, indices: Int32Array): Result;
  /**
   * Log-probs and alignment terms of `targets` from hidden rows `[A, H]`, in bounded memory; `backward` only where
   * `train` said so.
   */
  answerLogps(hidden: Value, table: Weight, targets: Int32Array, cap: number | null, train: boolean): AnswerLogps;
  /** All logits of hidden rows `[A, H]`: `[A, V]`. */
  logits(hidden: Value, table: Weight, cap: number | null): Tensor2D;
  /** a + b, for gradients that meet: takes ownership of both, and may write into a. */
  sum(a: Value, b: Value): Value;
  /**
   * `total` `[V, H]`, zeros where null, with `rows` `[n, H]` added at `indices`: takes ownership of `total`, and may write
   * into it.
   */
  addRows(total: Value | null, indices: Int32Array, rows: Value, count: number): Value;
  /**
   * `total` `[K, D, count]`, zeros where null, with the columns `values` `[K, D, n]` at `columns`, ascending and distinct:
   * takes ownership of `total`, and may write into it.
   */
  setColumns(total: Value | null, columns: Int32Array, values: Value, count: number): Value;
  /** How many queries a span of `attention` should have at most; left out: 256. */
  readonly spanRows?: number;
  /** Rotary tables for `positions`. */
  rotation(positions: Int32Array, headDim: number, theta: number): Rotation;
  /** The tensor of a value, which stays the value's: work that was put off is done now. Left out: values are tensors. */
  settle?(value: Value): Tensor;
}

/** Every operation composed from tfjs-core, with its gradient derived by hand: runs on any tfjs backend. */
export const composed: Kernels = {
  embed,
  linear,
  linearToHeads,
  linearFromHeads,
  rmsNorm,
  rope,
  attention,
  gatedLinear,
  rows,
  answerLogps,
  logits,
  sum,
  addRows,
  setColumns,
  rotation,
};
