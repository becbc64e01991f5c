import type { Tensor, Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';

// The operations that a set of kernels must have to run Gemma-2. The portable set is in portable.ts; @wpo/tensorflow has a native one.
//
// T tokens, H hidden size, N query heads, K key-value heads, D head dimension, S keys, F intermediate size, V vocabulary,
// A answer tokens. Values between the projections and attention are feature-major, `[heads, D, T]`: the projection writes
// and reads them without a transpose.

/** A tensor that flows between operations. Kernels may compute it lazily; the model only reads its shape. */
export interface Value {
  readonly shape: readonly number[];
  /** `bfloat16` where kernels hold the values in 2 bytes each; otherwise a value takes 4. */
  readonly dtype?: string;
  /** A second handle on the same data. Each handle is disposed on its own. */
  clone(): Value;
  dispose(): void;
}

/** A weight's value: a tensor, or a value that kernels hold outside of tfjs, such as bfloat16 weights. */
export interface WeightValue extends Value {
  /** A copy of the values, row-major. */
  data(): Promise<ArrayLike<number>>;
  /** A copy of `count` values from `start`. Absent for tensors. */
  read?(start: number, count: number): Float32Array;
}

/**
 * Values in memory of the kernels, outside of tfjs, which their operations change: of a parameter, or the sum of its gradients. They are
 * read and written in float32.
 */
export interface StoredValue extends WeightValue {
  /** The type of a file that holds what `read` returns exactly, by safetensors' name. */
  readonly fileType: 'F32' | 'BF16';
  /** Grows with each change of the values. */
  readonly version: number;
  /** Whether all values are finite, without reading them. It may be false for large finite ones. */
  areFinite(): boolean;
  read(start: number, count: number): Float32Array;
  /** A handle on `count` of the values from `start`, of shape `[count]`. */
  part(start: number, count: number): StoredValue;
  /** Replaces values from `start`. @throws RangeError beyond the end */
  write(start: number, values: Float32Array): void;
}

/** Where kernels keep parameters and the sums of their gradients. */
export interface ParameterStorage {
  /** Memory with the values of a tensor. Takes ownership of the tensor. */
  value(initial: Tensor): StoredValue;
  /** Memory for a sum of gradients, which has no values yet: the first operation that adds to it replaces them. */
  gradient(shape: readonly number[]): StoredValue;
}

/**
 * The precision of matrix products and activations. `bfloat16`: both operands of a product are rounded to the nearest bfloat16, ties
 * to even, and summed in float32. The outputs of linear layers and their gradients are rounded too, and so are the values that only
 * products read: the outputs of RMSNorm without a residual, RoPE, GeGLU and attention. All other arithmetic is float32 with either.
 */
export type Precision = 'float32' | 'bfloat16';

/**
 * Awaited between the parts of a long computation, so that the caller can let other work run. If it throws, the computation is given
 * up and frees its memory.
 */
export type Pause = () => Promise<void>;

/** A weight as kernels use it: the forward pass reads it, the backward pass adds to its gradient. */
export interface Weight {
  readonly name: string;
  readonly shape: readonly number[];
  /** Whether it has a gradient. A frozen weight ignores `accumulate`. */
  readonly trainable: boolean;
  /** The current value, owned by the weight. */
  value(): WeightValue;
  /**
   * Adds to the weight's gradient. The gradient is computed inside of `addTo`, which a frozen weight never calls.
   *
   * @param addTo returns the new sum, given the sum so far (null: zeros). It takes ownership of the old sum and may write into it.
   *   A sum in the kernels' storage is never null, and the new sum must be the same one.
   */
  accumulate(addTo: (sum: Value | null) => Value): void;
}

/** The result of an operation, and how to run its backward pass. */
export interface OpResult {
  readonly output: Value;
  /** The inputs that `backward` reads, and `output` if it reads that; the others may be disposed earlier. */
  readonly inputsForBackward: readonly Value[];
  /** Intermediate values that `backward` reads. The holder of this result disposes them. */
  readonly saved: readonly Value[];
  /**
   * Returns the gradient of each input, given `dOutput`, and adds the gradients of trainable weights to them. The caller owns
   * the returned values and still owns `dOutput`.
   */
  backward(dOutput: Value): Value[];
  /**
   * Frees the output's memory: an operation that reads it later recomputes it from the inputs in `inputsForBackward`, with the same
   * bits. Absent where that is not possible, or costs more than it frees.
   */
  readonly discard?: () => void;
}

/** Log-probabilities of answer tokens, with the terms of WPO's alignment weights. */
export interface AnswerLogps {
  /** log p of each target: `[A]`. */
  readonly logps: Tensor1D;
  /** log Σ_v p_v² over the vocabulary at each position: `[A]`. */
  readonly logSumSquares: Tensor1D;
  /** log max_v p_v at each position: `[A]`. */
  readonly logMax: Tensor1D;
  /** Returns d loss / d hidden `[A, H]`, given d loss / d logps `[A]`, and adds the weight's gradient if it is trainable. Call at most once. */
  backward(dLogps: Tensor1D): Promise<Value>;
  /** Frees what is kept for `backward`. The three terms belong to the caller. */
  dispose(): void;
}

/** cos and sin of the rotary position embedding for a list of positions. */
export interface RotaryTables {
  /** `[D, T]`; the second half of D repeats the first. */
  readonly cos: Value;
  /** `[D, T]`; −sin in the first half of D, +sin in the second, so that rope(x) = x · cos + swapHalves(x) · sin. */
  readonly sin: Value;
}

/** A range of consecutive key columns. */
export interface KeyRange {
  readonly start: number;
  readonly count: number;
}

/**
 * A block of consecutive queries and the keys that they attend to. Query i of the block, at position p = positionOffset + i
 * relative to the first key, sees the keys at positions p − window + 1 … p.
 */
export interface QueryBlock {
  /** Column of the first query. */
  readonly start: number;
  /** Number of queries. */
  readonly count: number;
  /** The block's keys in order of position: consecutive positions, though not always consecutive columns. */
  readonly keyRanges: readonly KeyRange[];
  /** Position of the first query minus position of the first key. */
  readonly positionOffset: number;
  /** Sliding window in tokens, the query's own included; Infinity for full attention. */
  readonly window: number;
}

export interface AttentionOptions {
  /** Factor of the scores qᵀk: 1 / √query_pre_attn_scalar. */
  readonly scale: number;
  /** Scores become softcap · tanh(score / softcap); null: no cap. */
  readonly softcap: number | null;
}

export interface ProductOptions {
  readonly transposeA?: boolean;
  readonly transposeB?: boolean;
  /** The result's shape. */
  readonly shape: readonly number[];
  /** Is added to the product. The operation takes ownership of it and may write into it. */
  readonly addTo?: Value | null;
  /** Whether the result is the output of a linear layer, which is rounded to the precision. Default false. */
  readonly isActivation?: boolean;
}

/** Which values dropout sets to 0. */
export interface DropoutOptions {
  /** A key of each token's random numbers: `[T]`. The same keys give the same result. */
  readonly keys: Int32Array;
  /** The probability with which a value is set to 0. The others are divided by 1 − rate. */
  readonly rate: number;
  /** Whether x is `[heads, D, T]` rather than `[T, n]`. Default false. */
  readonly byFeature?: boolean;
}

/** The operations of Gemma-2, each with its gradient. */
export interface Kernels {
  /** Rows `ids` `[T]` of `weight` `[V, H]`, times `scale`: `[T, H]`. */
  embedding(ids: Int32Array, weight: Weight, scale: number): OpResult;
  /** x · wᵀ: `[T, in]`, `[out, in]` → `[T, out]`. */
  linear(x: Value, w: Weight): OpResult;
  /** x · wᵀ, written as heads: `[T, H]`, `[heads · D, H]` → `[heads, D, T]`. */
  linearToHeads(x: Value, w: Weight, heads: number): OpResult;
  /** x · wᵀ, read from heads: `[N, D, T]`, `[H, N · D]` → `[T, H]`. */
  linearFromHeads(x: Value, w: Weight): OpResult;
  /** (gelu_tanh(gate) · up) · wᵀ: `[T, F]`, `[T, F]`, `[H, F]` → `[T, H]`. */
  gegluLinear(gate: Value, up: Value, w: Weight): OpResult;
  /** gelu_tanh(gate) · up: `[T, F]`, `[T, F]` → `[T, F]`. */
  geglu(gate: Value, up: Value): OpResult;
  /**
   * a · b, with either transposed. All dimensions of a value but its last count as rows: `[heads, D, T]` is a matrix
   * `[heads · D, T]`.
   */
  product(a: Value, b: Value, options: ProductOptions): Value;
  /** Dropout. No gradient is needed: it is dropout of the gradient, with the same keys. */
  dropout(x: Value, options: DropoutOptions): Value;
  /** x / √(mean(x²) + epsilon) · (1 + w) over each row, plus `residual` if given: `[T, H]`, `[H]` → `[T, H]`. */
  rmsNorm(x: Value, w: Weight, epsilon: number, residual?: Value): OpResult;
  /** cos and sin for `positions` `[T]`: `[headDim, T]` each. */
  rotaryTables(positions: Int32Array, headDim: number, theta: number): RotaryTables;
  /** Rotary position embedding: `[heads, D, T]` → `[heads, D, T]`. */
  rope(x: Value, tables: RotaryTables): OpResult;
  /**
   * softmax(softcap(qᵀk · scale) + mask) · v, for each query block: q `[N, D, T]`, k and v `[K, D, S]` → `[N, D, T]`. The
   * blocks cover all queries in order.
   */
  attention(q: Value, k: Value, v: Value, blocks: readonly QueryBlock[], options: AttentionOptions): OpResult;
  /** How many queries a block of `attention` should have at most. Default 256. */
  readonly queryBlockSize?: number;
  /** Rows of x at `indices` `[A]`, which may repeat: `[T, H]` → `[A, H]`. */
  selectRows(x: Value, indices: Int32Array): OpResult;
  /** softcap(hidden · weightᵀ): `[A, H]`, `[V, H]` → `[A, V]`. */
  logits(hidden: Value, weight: Weight, softcap: number | null): Tensor2D;
  /**
   * log-softmax of the logits at `targets` `[A]`, and the alignment terms, without ever holding all logits `[A, V]`.
   * `backward` may be called only if `requiresGrad`.
   *
   * @param pause awaited between chunks, in both passes
   */
  answerLogps(
    hidden: Value,
    weight: Weight,
    targets: Int32Array,
    softcap: number | null,
    requiresGrad: boolean,
    pause?: Pause,
  ): Promise<AnswerLogps>;
  /** x · factor. Takes ownership of x; may write into it. */
  scale(x: Value, factor: number): Value;
  /** a + b. Takes ownership of both; may write into a. */
  add(a: Value, b: Value): Value;
  /**
   * `total` `[V, H]` (null: zeros with `count` rows) with `rows` `[n, H]` added at `indices` `[n]`, which may repeat. Takes
   * ownership of `total`; may write into it.
   */
  addRows(total: Value | null, indices: Int32Array, rows: Value, count: number): Value;
  /**
   * `total` `[K, D, count]` (null: zeros) with `values` `[K, D, n]` copied to `columns` `[n]`, ascending and distinct. Takes
   * ownership of `total`; may write into it.
   */
  setColumns(total: Value | null, columns: Int32Array, values: Value, count: number): Value;
  /**
   * DoRA's scaling x · m / n of features, whose norms n `[out]` count as constants: `[T, out]`, or with `byFeature` `[heads, D, T]`.
   * Absent: computed by tfjs operations.
   */
  doraScale?(x: Value, magnitude: Weight, norms: () => Tensor1D, byFeature: boolean): OpResult;
  /** Computes a lazy value now and returns its tensor, owned by the value. Absent where every value is a tensor. */
  materialize?(value: Value): Tensor;
  /** Absent where parameters and their gradients are tensors. */
  readonly storage?: ParameterStorage;
}
