import type { Gemma2Config } from './config';
import type { Kernels, QueryBlock, RotaryTables, Value, Weight } from './ops/contract';
import type { Tape } from './tape';

// Gemma-2, top to bottom. Sources: arXiv 2408.00118; google/gemma_pytorch gemma/model.py; transformers modeling_gemma2.py.
//
// T tokens, H hidden width, N query heads, K key heads, D head width, S keys, F feed-forward width, V vocabulary.

export interface Gemma2<W extends Weight = Weight> {
  readonly config: Gemma2Config;
  readonly embedding: W; // [V, H], the output head's too
  readonly blocks: readonly Block<W>[];
  readonly norm: W; // [H]
}

export interface Block<W extends Weight = Weight> {
  readonly inputNorm: W; // [H]
  readonly q: W; // [N · D, H]
  readonly k: W; // [K · D, H]
  readonly v: W; // [K · D, H]
  readonly o: W; // [H, N · D]
  readonly postAttentionNorm: W; // [H]
  readonly preFeedforwardNorm: W; // [H]
  readonly gate: W; // [F, H]
  readonly up: W; // [F, H]
  readonly down: W; // [H, F]
  readonly postFeedforwardNorm: W; // [H]
}

/** Where tokens stand and what they see: made once for a sequence, used by every block. */
export interface Layout {
  readonly rotaryTables: RotaryTables;
  /** What each query may look at, in sliding-window blocks and in full ones. */
  readonly queryBlocks: Readonly<Record<'sliding_attention' | 'full_attention', readonly QueryBlock[]>>;
  /** Keys and values of earlier tokens, put before a block's own. */
  readonly cache?: KeyValues;
  /**
   * For the last block, of which only some rows are read: those rows, and where they stand. Keys and values are still
   * made of all rows; spans count queries in `rows`.
   */
  readonly queries?: { readonly rows: Int32Array; readonly rotaryTables: RotaryTables };
}

/** What attention looks at beyond the tokens at hand. */
export interface KeyValues {
  /** All keys and values up to now `[K, D, S]`, this block's new ones last; owned by the cache. */
  extend(kernels: Kernels, layer: number, k: Value, v: Value): { k: Value; v: Value };
}

/** Token ids to the first block's input: `[T, H]`, scaled by √H. */
export const embedding = (kernels: Kernels, model: Gemma2, ids: Int32Array) =>
  kernels.embedding(ids, model.embedding, Math.sqrt(model.config.hiddenSize));

/** One block: `[T, H]` → `[T, H]`, or `[rows, H]` where the layout's `queries` say so. */
export function block(tape: Tape, model: Gemma2, layer: number, x: Value, layout: Layout): Value {
  const { numAttentionHeads, numKeyValueHeads, queryPreAttnScalar, attnLogitSoftcapping, rmsNormEps, layerTypes } =
    model.config;
  const w = model.blocks[layer]!;

  const h = tape.rmsNorm(x, w.inputNorm, rmsNormEps); // [T, H]
  const { rows, rotaryTables } = layout.queries ?? { rows: null, rotaryTables: layout.rotaryTables };
  const read = (value: Value) => (rows ? tape.selectRows(value, rows) : value);
  const q = tape.rope(tape.linearToHeads(read(h), w.q, numAttentionHeads), rotaryTables); // [N, D, T]
  const k = tape.rope(tape.linearToHeads(h, w.k, numKeyValueHeads), layout.rotaryTables); // [K, D, T]
  const v = tape.linearToHeads(h, w.v, numKeyValueHeads); // [K, D, T]
  const seen = layout.cache ? layout.cache.extend(tape.kernels, layer, k, v) : { k, v }; // [K, D, S]
  const attended = tape.attention(q, seen.k, seen.v, layout.queryBlocks[layerTypes[layer]!], {
    scale: 1 / Math.sqrt(queryPreAttnScalar),
    softcap: attnLogitSoftcapping,
  }); // [N, D, T]
  const mixed = tape.rmsNorm(tape.linearFromHeads(attended, w.o), w.postAttentionNorm, rmsNormEps, read(x)); // [T, H]

  const m = tape.rmsNorm(mixed, w.preFeedforwardNorm, rmsNormEps); // [T, H]
  const fed = tape.gegluLinear(tape.linear(m, w.gate), tape.linear(m, w.up), w.down); // [T, F] twice → [T, H]
  return tape.rmsNorm(fed, w.postFeedforwardNorm, rmsNormEps, mixed); // [T, H]
}

/** The last norm, of the rows that are read: `[A, H]` → `[A, H]`. */
export const readout = (tape: Tape, model: Gemma2, x: Value): Value =>
  tape.rmsNorm(x, model.norm, model.config.rmsNormEps);
