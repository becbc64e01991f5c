import type { KeyValueCache } from './cache';
import type { AnswerLogps, QueryBlock, RotaryTables, Value, Weight } from './ops/contract';
import { type ModelInput, queryBlocks, type Segment } from './pack';
import type { Tape } from './tape';

// Gemma-2, top to bottom: configuration, weights, decoder layer, layer loop, logits. Training and generation run this code.
// Sources: arXiv 2408.00118; google/gemma_pytorch gemma/model.py; transformers modeling_gemma2.py.
//
// Shapes: T tokens of a pack, A output rows (the rows whose logits are needed), H hidden size, N query heads, K key-value
// heads, D head dimension, S keys (T, or all cached tokens), F intermediate size, V vocabulary.
//
// Per layer, with RMSNorm(x) = x / √(mean(x²) + ε) · (1 + w):
//   y = x + postAttentionLayernorm(attention(inputLayernorm(x)))
//   output = y + postFeedforwardLayernorm(mlp(preFeedforwardLayernorm(y)))

/** Sliding-window attention, or attention to all earlier tokens. */
export type LayerType = 'sliding_attention' | 'full_attention';

/** The fields of Hugging Face's `config.json` that define a Gemma-2 model. */
export interface Gemma2Config {
  readonly vocabSize: number;
  /** Width of the residual stream. */
  readonly hiddenSize: number;
  /** Width of the MLP. */
  readonly intermediateSize: number;
  readonly numHiddenLayers: number;
  /** Query heads: a multiple of `numKeyValueHeads`. */
  readonly numAttentionHeads: number;
  /** Each key-value head serves `numAttentionHeads / numKeyValueHeads` query heads. */
  readonly numKeyValueHeads: number;
  /** Even. */
  readonly headDim: number;
  /** Attention scores are scaled by 1 / √queryPreAttnScalar. */
  readonly queryPreAttnScalar: number;
  /** In a sliding-window layer, a token sees itself and the `slidingWindow − 1` tokens before it. */
  readonly slidingWindow: number;
  /** Attention scores s become cap · tanh(s / cap); null: no cap. */
  readonly attnLogitSoftcapping: number | null;
  /** The same for the output logits. */
  readonly finalLogitSoftcapping: number | null;
  readonly rmsNormEps: number;
  /** Base of the rotary embedding's frequencies. */
  readonly ropeTheta: number;
  readonly maxPositionEmbeddings: number;
  /** [numHiddenLayers] */
  readonly layerTypes: readonly LayerType[];
  readonly bosTokenId: number | null;
  /** The tokens that end an answer. */
  readonly eosTokenId: readonly number[];
  readonly padTokenId: number | null;
}

/** One value per weight, in the structure and under the names of Hugging Face's modules. */
export interface Gemma2Weights<T> {
  /** Also the output projection: the embeddings are tied. */
  readonly embedTokens: T;
  readonly layers: readonly DecoderLayer<T>[];
  readonly norm: T;
}

export interface DecoderLayer<T> {
  readonly inputLayernorm: T;
  readonly selfAttn: { readonly qProj: T; readonly kProj: T; readonly vProj: T; readonly oProj: T };
  readonly postAttentionLayernorm: T;
  readonly preFeedforwardLayernorm: T;
  readonly mlp: { readonly gateProj: T; readonly upProj: T; readonly downProj: T };
  readonly postFeedforwardLayernorm: T;
}

/** A model: its configuration and weights. */
export interface Gemma2<W extends Weight = Weight> extends Gemma2Weights<W> {
  readonly config: Gemma2Config;
}

/** The weights' shapes. Projections are `[out, in]`, as in PyTorch. */
export function weightShapes(config: Gemma2Config): Gemma2Weights<readonly number[]> {
  const { vocabSize: V, hiddenSize: H, intermediateSize: F } = config;
  const { numAttentionHeads: N, numKeyValueHeads: K, headDim: D } = config;
  const layer: DecoderLayer<readonly number[]> = {
    inputLayernorm: [H],
    selfAttn: { qProj: [N * D, H], kProj: [K * D, H], vProj: [K * D, H], oProj: [H, N * D] },
    postAttentionLayernorm: [H],
    preFeedforwardLayernorm: [H],
    mlp: { gateProj: [F, H], upProj: [F, H], downProj: [H, F] },
    postFeedforwardLayernorm: [H],
  };
  return { embedTokens: [V, H], layers: new Array<typeof layer>(config.numHiddenLayers).fill(layer), norm: [H] };
}

/**
 * The final hidden states at the output rows of each pack: `[A, H]`, owned by the tape. A block runs on all packs before the next
 * block does (_layer-major_), also in the backward pass.
 *
 * @param tape runs the operations; decides which layers keep their activations for the backward pass
 * @param cache keys and values of earlier tokens, to which a pass over one pack appends its own
 */
export async function forward(
  tape: Tape,
  model: Gemma2,
  packs: readonly ModelInput[],
  cache?: KeyValueCache,
): Promise<Value[]> {
  const { config, embedTokens, norm } = model;
  const attention = packs.map((pack) => attentionInputs(tape, config, pack));
  const scale = Math.sqrt(config.hiddenSize);
  let x = await tape.block('embedding', packs, ({ ids }) => tape.embedding(ids, embedTokens, scale)); // of each pack [T, H]
  for (let layer = 0; layer < config.numHiddenLayers; layer++) {
    const rows = layer === config.numHiddenLayers - 1 ? 'last' : 'inner';
    x = await tape.block(layer, x, (input, pack) =>
      tape.checkpoint(input, (inTape, input) =>
        decoderLayer(inTape, model, layer, input, attention[pack]![rows], cache),
      ),
    ); // [T, H]; after the last layer [A, H]
  }
  return tape.block('norm', x, (input) => tape.rmsNorm(input, norm, config.rmsNormEps)); // [A, H]
}

/** Logits of hidden states: `[A, H]` → `[A, V]`, owned by the caller. */
export const logits = (tape: Tape, { embedTokens, config }: Gemma2, hidden: Value) =>
  tape.kernels.logits(hidden, embedTokens, config.finalLogitSoftcapping);

/** Log-probs of `targets` `[A]`, and the alignment terms, from hidden states `[A, H]`. */
export const answerLogps = (
  tape: Tape,
  { embedTokens, config }: Gemma2,
  hidden: Value,
  targets: Int32Array,
): Promise<AnswerLogps> =>
  tape.kernels.answerLogps(hidden, embedTokens, targets, config.finalLogitSoftcapping, tape.recording, tape.pause);

/** What attention needs to know of the pass, besides hidden states. */
interface AttentionInputs {
  /** Rotary tables of the keys' positions: `[D, T]`. */
  readonly keyTables: RotaryTables;
  /** Rotary tables of the queries' positions: `[D, T]`, in the last layer `[D, A]`. */
  readonly queryTables: RotaryTables;
  /** Which keys each query sees. */
  readonly queryBlocks: Readonly<Record<LayerType, readonly QueryBlock[]>>;
  /** In the last layer: the rows `[A]` whose logits are needed. The other rows only get keys and values. */
  readonly outputRows: Int32Array | null;
}

/** Computed once per pass: for all layers but the last, and for the last. */
function attentionInputs(
  tape: Tape,
  config: Gemma2Config,
  { positions, segments, outputRows, outputSegments }: ModelInput,
): { readonly inner: AttentionInputs; readonly last: AttentionInputs } {
  const tables = (at: Int32Array) => tape.rotaryTables(at, config.headDim, config.ropeTheta);
  const size = tape.kernels.queryBlockSize;
  const blocks = (of: readonly Segment[]) => ({
    full_attention: queryBlocks(of, Number.POSITIVE_INFINITY, size),
    sliding_attention: queryBlocks(of, config.slidingWindow, size),
  });
  const keyTables = tables(positions);
  const queryTables = tables(outputRows.map((row) => positions[row]!));
  return {
    inner: { keyTables, queryTables: keyTables, queryBlocks: blocks(segments), outputRows: null },
    last: { keyTables, queryTables, queryBlocks: blocks(outputSegments), outputRows },
  };
}

/** `[T, H]` → `[T, H]`; in the last layer → `[A, H]`, and T below is A from the queries on. */
function decoderLayer(
  tape: Tape,
  { config, layers }: Gemma2,
  layer: number,
  x: Value,
  { keyTables, queryTables, queryBlocks, outputRows }: AttentionInputs,
  cache?: KeyValueCache,
): Value {
  const { inputLayernorm, selfAttn, postAttentionLayernorm, ...feedforward } = layers[layer]!;
  const { preFeedforwardLayernorm, mlp, postFeedforwardLayernorm } = feedforward;
  const eps = config.rmsNormEps;
  const atOutputRows = (value: Value) => (outputRows ? tape.selectRows(value, outputRows) : value);

  const h = tape.rmsNorm(x, inputLayernorm, eps); // [T, H]
  const q = tape.rope(tape.linearToHeads(atOutputRows(h), selfAttn.qProj, config.numAttentionHeads), queryTables); // [N, D, T]
  const k = tape.rope(tape.linearToHeads(h, selfAttn.kProj, config.numKeyValueHeads), keyTables); // [K, D, T]
  const v = tape.linearToHeads(h, selfAttn.vProj, config.numKeyValueHeads); // [K, D, T]
  const seen = cache ? cache.append(tape.kernels, layer, k, v) : { k, v }; // [K, D, S]
  const attended = tape.attention(q, seen.k, seen.v, queryBlocks[config.layerTypes[layer]!], {
    scale: 1 / Math.sqrt(config.queryPreAttnScalar),
    softcap: config.attnLogitSoftcapping,
  }); // [N, D, T]
  const o = tape.linearFromHeads(attended, selfAttn.oProj); // [T, H]
  const y = tape.rmsNorm(o, postAttentionLayernorm, eps, atOutputRows(x)); // x + norm(o): [T, H]

  const m = tape.rmsNorm(y, preFeedforwardLayernorm, eps); // [T, H]
  const gate = tape.linear(m, mlp.gateProj); // [T, F]
  const up = tape.linear(m, mlp.upProj); // [T, F]
  const down = tape.gegluLinear(gate, up, mlp.downProj); // (gelu(gate) · up) · downProjᵀ: [T, H]
  return tape.rmsNorm(down, postFeedforwardLayernorm, eps, y); // y + norm(down): [T, H]
}
