import { murmurFinalise } from '@wpo/internal/random';

// Dropout from a counter-based generator: whether a value is kept is a function of the seed, the step, the pair, the token's row
// in the pair, the module and the value's index. So a resumed run and recomputed activations have the same masks, nothing is
// stored, and a pair has the same masks in whatever micro-batch it runs.

export interface Dropout {
  /** Probability with which a value is set to 0; the others are divided by 1 − rate. */
  readonly rate: number;
  readonly seed: number;
  /** Differs between modules. */
  readonly module: number;
}

/** A forward pass of the model over one or more packs, with its backward pass. */
export interface Pass {
  /** Whether it is for training. */
  readonly training: boolean;
  /** Keys of the random numbers of each token of a pack: `[T]`. Null: no dropout. */
  dropoutKeys(tokens: number, pack: number): Int32Array | null;
}

const mix = (words: readonly number[]) => words.reduce((hash, word) => murmurFinalise(hash ^ word), 0x9e3779b9);

/** Keys of a pair's rows in a step: `[rows]`. Their seed is that of each module. */
export function pairKeys(step: number, id: string, rows: number): Int32Array {
  const pair = mix([step, ...Array.from({ length: id.length }, (_, i) => id.charCodeAt(i))]);
  return Int32Array.from({ length: rows }, (_, row) => mix([pair, row]));
}

/** Keys of a module's tokens, given those of the rows: `[T]`. */
export function moduleKeys(rowKeys: Int32Array, { seed, module }: Dropout): Int32Array {
  const own = mix([seed, Math.floor(seed / 2 ** 32), module]);
  return rowKeys.map((key) => mix([own, key]));
}
