import type { Gemma2Config } from './model';
import { tensorShapes } from './weights';

/** What a model is loaded for. The numbers of tokens are those of the largest pass. */
export type ModelUse =
  /** A pass over pairs: all tokens, and those of the answers. `train` adds the backward pass and the optimizer. */
  | {
      readonly kind: 'train' | 'score';
      readonly tokens: number;
      readonly answerTokens: number;
      /** Of training: bytes of the optimizer's state for a weight. Default: AdamW's two float32 moments. */
      readonly stateBytes?: StateBytes;
    }
  /** Answers that are generated side by side: tokens of the longest prompt, and the longest answer. */
  | {
      readonly kind: 'generate';
      readonly answers: number;
      readonly promptTokens: number;
      readonly maxNewTokens: number;
    };

/** Bytes of an optimizer's state for a weight. An adapter counts as one weight of one dimension. */
export type StateBytes = (weight: { readonly name: string; readonly shape: readonly number[] }) => number;

/** Bytes that a model takes at least. */
export interface MemoryEstimate {
  /** Of the model, without its adapter. */
  readonly parameters: number;
  /** Weights of the model and its adapter, without those in mapped files. */
  readonly weights: number;
  /** Weights in mapped files. They are no part of `total`: the system reads them as needed, and can drop them at any time. */
  readonly mapped: number;
  /** Gradients, and the optimizer's state: for AdamW, 12 bytes per parameter that is trained; 0 without training. */
  readonly training: number;
  /** The keys and values of all tokens of the answers that are generated; 0 otherwise. */
  readonly cache: number;
  /** The largest pass, or a copy of the largest weight that is saved, whichever is larger. */
  readonly pass: number;
  readonly total: number;
}

const FLOAT32 = 4;

/** Logits that are computed at once: more answer tokens are computed in parts (`nativeAnswerLogps` of @wpo/tensorflow). */
const MOST_LOGITS = { train: 2 ** 27, score: 2 ** 24 };

/** Where a model's weights are: bytes of memory, and bytes of mapped files. */
export interface WeightBytes {
  readonly allocated: number;
  readonly mapped: number;
}

export interface MemoryOptions {
  /** Where the weights are, without those of an adapter. Default: in memory in float32, 4 bytes per parameter. */
  readonly held?: WeightBytes;
  /** Parameters of the model's adapter. Training then trains these only. Default 0: no adapter. */
  readonly adapterParameters?: number;
}

/**
 * Estimates the memory for a model from its config, before its weights are read. It counts what every implementation needs, with
 * `activationCheckpointing: 'always'`, so a use takes somewhat more.
 *
 * @throws RangeError for a size out of range
 */
export function estimateMemory(
  config: Gemma2Config,
  use: ModelUse,
  { adapterParameters = 0, held }: MemoryOptions = {},
): MemoryEstimate {
  const shapes = [...tensorShapes(config)].map(([name, shape]) => ({ name, shape }));
  const sizes = shapes.map(sizeOf);
  const parameters = sizes.reduce((sum, size) => sum + size, 0);
  const { allocated, mapped } = held ?? { allocated: FLOAT32 * parameters, mapped: 0 };
  const weights = allocated + FLOAT32 * adapterParameters;
  const trained = adapterParameters > 0 ? [{ name: 'adapter', shape: [adapterParameters] }] : shapes;
  const training = use.kind === 'train' ? trainingBytes(trained, use.stateBytes) : 0;
  const saved =
    use.kind === 'train' && adapterParameters === 0
      ? FLOAT32 * sizes.reduce((most, size) => Math.max(most, size), 0)
      : 0;
  const cache = use.kind === 'generate' ? cacheBytes(config, use) : 0;
  const pass = Math.max(saved, passBytes(config, use));
  return { parameters, weights, mapped, training, cache, pass, total: weights + training + cache + pass };
}

const sizeOf = ({ shape }: { readonly shape: readonly number[] }) => shape.reduce((size, n) => size * n, 1);

/** Bytes of the gradients of weights, and of the optimizer's state for them. */
export const trainingBytes = (
  weights: Iterable<Parameters<StateBytes>[0]>,
  stateBytes: StateBytes = (weight) => 2 * FLOAT32 * sizeOf(weight),
): number => [...weights].reduce((sum, weight) => sum + FLOAT32 * sizeOf(weight) + stateBytes(weight), 0);

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
  const { kind, tokens, answerTokens } = use;
  const logits = V * Math.min(answerTokens, Math.max(1, Math.floor(MOST_LOGITS[kind] / V)));
  if (kind === 'score') return FLOAT32 * Math.max(tokens * (2 * H + Math.max(2 * F, heads)), logits);
  const inputs = config.numHiddenLayers * tokens * H; // of the layers, which the backward pass recomputes one at a time
  return FLOAT32 * (inputs + Math.max(tokens * (6 * H + heads + 4 * F), logits));
}
