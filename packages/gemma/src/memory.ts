import type { Gemma2Config } from './model';
import { tensorShapes } from './weights';

/** What a model that is not trained runs. The numbers of tokens are those of the largest pass. */
export type ModelUse =
  /** A forward pass over pairs: all tokens, and those of the answers. */
  | { readonly kind: 'score'; readonly tokens: number; readonly answerTokens: number }
  /** Answers that are generated side by side: tokens of the longest prompt, and the longest answer. */
  | {
      readonly kind: 'generate';
      readonly answers: number;
      readonly promptTokens: number;
      readonly maxNewTokens: number;
    };

/** Bytes that a model takes at least. */
export interface MemoryEstimate {
  /** Of the model, without its adapter. */
  readonly parameters: number;
  /** Weights of the model and its adapter, without those in mapped files. */
  readonly weights: number;
  /** Weights in mapped files. They are no part of `total`: the system reads them as needed, and can drop them at any time. */
  readonly mapped: number;
  /** The keys and values of all tokens of the answers that are generated; 0 otherwise. */
  readonly cache: number;
  /** The largest pass. */
  readonly pass: number;
  readonly total: number;
}

const FLOAT32 = 4;

/** Logits that are computed at once: more answer tokens are computed in parts (`LOGIT_LIMITS` of @wpo/tensorflow). */
const MOST_LOGITS = 2 ** 24;

/** Where a model's weights are: bytes of memory, and bytes of mapped files. */
export interface WeightBytes {
  readonly allocated: number;
  readonly mapped: number;
}

export interface MemoryOptions {
  /** Where the weights are, without those of an adapter. Default: in memory in float32, 4 bytes per parameter. */
  readonly held?: WeightBytes;
  /** Parameters of the model's adapter. Default 0: no adapter. */
  readonly adapterParameters?: number;
}

/**
 * Estimates the memory of a model that is not trained from its config, before its weights are read. It counts what every
 * implementation needs, so a use takes somewhat more.
 *
 * @throws RangeError for a size out of range
 */
export function estimateMemory(
  config: Gemma2Config,
  use: ModelUse,
  { adapterParameters = 0, held }: MemoryOptions = {},
): MemoryEstimate {
  const sizes = [...tensorShapes(config).values()].map((shape) => shape.reduce((size, n) => size * n, 1));
  const parameters = sizes.reduce((sum, size) => sum + size, 0);
  const { allocated, mapped } = held ?? { allocated: FLOAT32 * parameters, mapped: 0 };
  const weights = allocated + FLOAT32 * adapterParameters;
  const cache = use.kind === 'generate' ? cacheBytes(config, use) : 0;
  const pass = passBytes(config, use);
  return { parameters, weights, mapped, cache, pass, total: weights + cache + pass };
}

type Generation = Extract<ModelUse, { kind: 'generate' }>;

function cacheBytes(config: Gemma2Config, { answers, promptTokens, maxNewTokens }: Generation): number {
  const { numHiddenLayers, numKeyValueHeads, headDim } = config;
  const columns = answers * (promptTokens + Math.max(0, maxNewTokens - 1));
  return FLOAT32 * numHiddenLayers * 2 * numKeyValueHeads * headDim * columns;
}

function passBytes(config: Gemma2Config, use: ModelUse): number {
  const { vocabSize: V, hiddenSize: H, intermediateSize: F, numAttentionHeads: N, numKeyValueHeads: K } = config;
  const heads = (2 * N + 2 * K) * config.headDim; // queries, keys, values and their sum
  if (use.kind === 'generate') {
    const tokens = use.answers * use.promptTokens;
    return FLOAT32 * Math.max(tokens * (2 * H + Math.max(2 * F, heads)), use.answers * V);
  }
  const { tokens, answerTokens } = use;
  const logits = V * Math.min(answerTokens, Math.max(1, Math.floor(MOST_LOGITS / V)));
  return FLOAT32 * Math.max(tokens * (2 * H + Math.max(2 * F, heads)), logits);
}
