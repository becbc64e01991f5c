import { describe } from '@wpo/internal/describe';
import { isObject } from '@wpo/internal/json';
import { WEIGHT_DTYPES, type WeightDtype } from './dtype';
import type { Gemma2Config, LayerType } from './model';

/** Sliding-window and full attention in turn, the default of transformers. */
const alternating = (layers: number): LayerType[] =>
  Array.from({ length: layers }, (_, i) => (i % 2 === 0 ? 'sliding_attention' : 'full_attention'));

const published = (
  sizes: Pick<
    Gemma2Config,
    | 'hiddenSize'
    | 'intermediateSize'
    | 'numHiddenLayers'
    | 'numAttentionHeads'
    | 'numKeyValueHeads'
    | 'headDim'
    | 'queryPreAttnScalar'
  >,
): Gemma2Config => ({
  ...sizes,
  vocabSize: 256_000,
  slidingWindow: 4096,
  attnLogitSoftcapping: 50,
  finalLogitSoftcapping: 30,
  rmsNormEps: 1e-6,
  ropeTheta: 10_000,
  maxPositionEmbeddings: 8192,
  layerTypes: alternating(sizes.numHiddenLayers),
  bosTokenId: 2,
  eosTokenId: [1],
  padTokenId: 0,
});

/** Gemma-2 2B. Source of all three sizes: https://github.com/google/gemma_pytorch, gemma/config.py. */
export const gemma2_2b: Gemma2Config = published({
  hiddenSize: 2304,
  intermediateSize: 9216,
  numHiddenLayers: 26,
  numAttentionHeads: 8,
  numKeyValueHeads: 4,
  headDim: 256,
  queryPreAttnScalar: 256,
});

/** Gemma-2 9B. */
export const gemma2_9b: Gemma2Config = published({
  hiddenSize: 3584,
  intermediateSize: 14_336,
  numHiddenLayers: 42,
  numAttentionHeads: 16,
  numKeyValueHeads: 8,
  headDim: 256,
  queryPreAttnScalar: 256,
});

/** Gemma-2 27B. Its queryPreAttnScalar is hiddenSize / numAttentionHeads instead of headDim. */
export const gemma2_27b: Gemma2Config = published({
  hiddenSize: 4608,
  intermediateSize: 36_864,
  numHiddenLayers: 46,
  numAttentionHeads: 32,
  numKeyValueHeads: 16,
  headDim: 128,
  queryPreAttnScalar: 144,
});

const shortened = (config: Gemma2Config, numHiddenLayers: number): Gemma2Config => ({
  ...config,
  numHiddenLayers,
  layerTypes: config.layerTypes.slice(0, numHiddenLayers),
});

export type Gemma2Preset = 'tiny' | '159m' | '2b-wide' | '2b' | '9b' | '27b';

/** Gemma-2 in the published sizes, and smaller models of the same architecture for tests and benchmarks. */
export const gemma2Presets: Readonly<Record<Gemma2Preset, Gemma2Config>> = {
  /** 0.3M parameters. */
  tiny: {
    ...shortened(gemma2_2b, 4),
    vocabSize: 512,
    hiddenSize: 64,
    intermediateSize: 160,
    numAttentionHeads: 4,
    numKeyValueHeads: 2,
    headDim: 32,
    queryPreAttnScalar: 32,
    slidingWindow: 64,
    maxPositionEmbeddings: 4096,
  },
  /** 159M parameters. The output head is about a fifth of the forward pass, as in Gemma-2 2B. */
  '159m': {
    ...shortened(gemma2_2b, 8),
    vocabSize: 32_000,
    hiddenSize: 1024,
    intermediateSize: 4096,
    headDim: 128,
    queryPreAttnScalar: 128,
    slidingWindow: 512,
    maxPositionEmbeddings: 4096,
  },
  /** The first four layers of Gemma-2 2B, with its widths and vocabulary: 0.9B parameters. */
  '2b-wide': shortened(gemma2_2b, 4),
  '2b': gemma2_2b,
  '9b': gemma2_9b,
  '27b': gemma2_27b,
};

/**
 * Reads a Gemma-2 `config.json`, in the current layout (`rope_parameters`, `dtype`, `layer_types`) or in the layout of 2024 (flat
 * `rope_theta`, `torch_dtype`, no `layer_types`). An absent key has transformers' default, the value of Gemma-2 2B. Keys that
 * do not affect the computation are ignored, and so is dropout, which preference training turns off.
 *
 * @param json the parsed file
 * @param where the file's name for errors
 * @throws Error for an invalid value, or a model that this package does not run; names file and key
 */
export function parseConfig(json: unknown, where: string): Gemma2Config {
  if (!isObject(json)) throw new Error(`${where}: expected an object, found ${describe(json)}.`);
  const refuse = (key: string, found: unknown, expected: string) =>
    new Error(`${where}: ${key}: expected ${expected}, found ${describe(found)}.`);
  const read = <T>(key: string, absent: T, accepts: (value: unknown) => value is T, expected: string): T => {
    const value = json[key];
    if (value === undefined) return absent;
    if (accepts(value)) return value;
    throw refuse(key, value, expected);
  };
  const size = (key: string, absent: number, max = MAX_SIZE) =>
    read(key, absent, isIntegerFrom(1, max), `a whole number from 1 to ${max}`);
  const softcap = (key: string, absent: number | null) =>
    read(key, absent, orNull(isPositive), 'a number above 0, or null');
  const tokenId = (key: string, absent: number | null) =>
    read(key, absent, orNull(isIntegerFrom(0, MAX_SIZE)), `a token id from 0 to ${MAX_SIZE}, or null`);

  if (json.model_type !== 'gemma2')
    throw new Error(
      `${refuse('model_type', json.model_type, '"gemma2" (only Gemma-2 models are supported)').message} Use one, e.g. google/gemma-2-2b-it.`,
    );
  read('attention_bias', false, isFalseOrNull, "false (Gemma-2's projections have no bias)");
  read('use_bidirectional_attention', null, isFalseOrNull, 'false (attention is causal)');
  read('tie_word_embeddings', true, isBoolean, 'true or false'); // the weights decide, see loadWeights
  read('quantization_config', null, is(null), 'null (quantized weights are not supported)');
  read('hidden_activation', null, orNull(is(GELU_TANH)), `"${GELU_TANH}"`);
  // transformers ignores hidden_act for Gemma-2, and files with "gelu" mean the tanh form. Any other value is a mistake.
  if (json.hidden_activation === undefined) read('hidden_act', null, isGeluOrNull, `"${GELU_TANH}"`);

  const hiddenSize = size('hidden_size', gemma2_2b.hiddenSize);
  const numHiddenLayers = size('num_hidden_layers', gemma2_2b.numHiddenLayers, MAX_LAYERS);
  const numAttentionHeads = size('num_attention_heads', gemma2_2b.numAttentionHeads);
  const numKeyValueHeads = size('num_key_value_heads', gemma2_2b.numKeyValueHeads);
  const headDim = size('head_dim', gemma2_2b.headDim);
  if (numAttentionHeads % numKeyValueHeads !== 0) {
    throw refuse('num_attention_heads', numAttentionHeads, `a multiple of num_key_value_heads (${numKeyValueHeads})`);
  }
  if (headDim % 2 !== 0) throw refuse('head_dim', headDim, 'an even number (rotary embeddings rotate pairs)');
  // transformers has the same check.
  if (hiddenSize % numAttentionHeads !== 0) {
    throw refuse('hidden_size', hiddenSize, `a multiple of num_attention_heads (${numAttentionHeads})`);
  }
  if (numAttentionHeads * headDim > MAX_SIZE) {
    throw refuse(
      'head_dim',
      headDim,
      `at most ${MAX_SIZE} for all ${numAttentionHeads} heads (num_attention_heads) together`,
    );
  }
  const layerTypes = read('layer_types', null, orNull(isLayerTypes), `a list of ${LAYER_TYPES.join(' and ')}`);
  if (layerTypes && layerTypes.length !== numHiddenLayers) {
    throw refuse('layer_types', layerTypes, `${numHiddenLayers} entries (num_hidden_layers)`);
  }
  const maxPositionEmbeddings = size('max_position_embeddings', gemma2_2b.maxPositionEmbeddings);
  const slidingWindow = read(
    'sliding_window',
    gemma2_2b.slidingWindow,
    orNull(isIntegerFrom(1, MAX_SIZE)),
    `a whole number from 1 to ${MAX_SIZE}, or null`,
  );
  if (slidingWindow === null && layerTypes?.includes('sliding_attention') !== false) {
    throw refuse('sliding_window', null, 'a whole number above 0 (some layers have sliding_attention)');
  }
  const vocabSize = size('vocab_size', gemma2_2b.vocabSize);
  return {
    vocabSize,
    hiddenSize,
    intermediateSize: size('intermediate_size', gemma2_2b.intermediateSize),
    numHiddenLayers,
    numAttentionHeads,
    numKeyValueHeads,
    headDim,
    queryPreAttnScalar: size('query_pre_attn_scalar', gemma2_2b.queryPreAttnScalar),
    slidingWindow: slidingWindow ?? maxPositionEmbeddings,
    attnLogitSoftcapping: softcap('attn_logit_softcapping', gemma2_2b.attnLogitSoftcapping),
    finalLogitSoftcapping: softcap('final_logit_softcapping', gemma2_2b.finalLogitSoftcapping),
    rmsNormEps: read('rms_norm_eps', gemma2_2b.rmsNormEps, isPositive, 'a number above 0'),
    ropeTheta: ropeTheta(json, refuse),
    maxPositionEmbeddings,
    layerTypes: layerTypes ?? alternating(numHiddenLayers),
    bosTokenId: tokenId('bos_token_id', gemma2_2b.bosTokenId),
    eosTokenId: stopIds(json, vocabSize, where) ?? (json.eos_token_id === null ? [] : [1]),
    padTokenId: tokenId('pad_token_id', gemma2_2b.padTokenId),
  };
}

/**
 * Reads the ids that end an answer, `eos_token_id`, from a parsed `config.json` or `generation_config.json`.
 *
 * @returns undefined if the file names none
 * @throws Error for a value that is not an id of the vocabulary or a list of them; names file and key
 */
export function stopIds(
  { eos_token_id: found }: Readonly<Record<string, unknown>>,
  vocabSize: number,
  where: string,
): readonly number[] | undefined {
  if (found === undefined || found === null) return undefined;
  const ids: readonly unknown[] = Array.isArray(found) ? found : [found];
  if (ids.every(isIntegerFrom(0, vocabSize - 1))) return ids;
  throw new Error(
    `${where}: eos_token_id: expected a token id from 0 to ${vocabSize - 1} (vocab_size is ${vocabSize}), a list of them, or ` +
      `null, found ${describe(found)}.`,
  );
}

/**
 * Checks the sizes of a config that was made in code. `parseConfig` has checked them.
 *
 * @throws RangeError naming the size
 */
export function checkSizes(config: Gemma2Config): void {
  for (const name of SIZES) {
    const max = name === 'numHiddenLayers' ? MAX_LAYERS : MAX_SIZE;
    if (isIntegerFrom(1, max)(config[name])) continue;
    throw new RangeError(`config: ${name}: expected a whole number from 1 to ${max}, found ${describe(config[name])}.`);
  }
}

/**
 * Writes a `config.json` in the current layout, as transformers 5 loads it.
 *
 * @param options.dtype the type of the weights
 * @param options.extra the parsed `config.json` of the model that this one was made from: its other keys are kept, except
 *   those of the 2024 layout
 * @returns the file's text
 */
export function writeConfig(
  config: Gemma2Config,
  options: { readonly dtype: WeightDtype; readonly extra?: Readonly<Record<string, unknown>> },
): string {
  const kept = Object.entries(options.extra ?? {}).filter(([key]) => !KEYS_OF_2024.includes(key));
  const json: Record<string, unknown> = {
    attention_dropout: 0,
    initializer_range: 0.02,
    use_cache: true,
    ...Object.fromEntries(kept),
    architectures: ['Gemma2ForCausalLM'],
    model_type: 'gemma2',
    attention_bias: false,
    tie_word_embeddings: true,
    use_bidirectional_attention: null,
    hidden_activation: GELU_TANH,
    dtype: Object.entries(WEIGHT_DTYPES).find(([, name]) => name === options.dtype)![0],
    vocab_size: config.vocabSize,
    hidden_size: config.hiddenSize,
    intermediate_size: config.intermediateSize,
    num_hidden_layers: config.numHiddenLayers,
    num_attention_heads: config.numAttentionHeads,
    num_key_value_heads: config.numKeyValueHeads,
    head_dim: config.headDim,
    query_pre_attn_scalar: config.queryPreAttnScalar,
    sliding_window: config.slidingWindow,
    attn_logit_softcapping: config.attnLogitSoftcapping,
    final_logit_softcapping: config.finalLogitSoftcapping,
    rms_norm_eps: config.rmsNormEps,
    rope_parameters: { rope_theta: config.ropeTheta, rope_type: 'default' },
    max_position_embeddings: config.maxPositionEmbeddings,
    layer_types: config.layerTypes,
    bos_token_id: config.bosTokenId,
    eos_token_id: config.eosTokenId.length > 1 ? config.eosTokenId : (config.eosTokenId[0] ?? null),
    pad_token_id: config.padTokenId,
  };
  const sorted = Object.fromEntries(Object.entries(json).sort(([a], [b]) => (a < b ? -1 : 1)));
  return `${withFloats(JSON.stringify(sorted, null, 2))}\n`;
}

/** The largest size of a tensor's dimension: TensorFlow's operations take 32-bit integers. */
const MAX_SIZE = 2 ** 31 - 1;

/** Far above any Gemma-2. A damaged number must not become as many objects. */
const MAX_LAYERS = 1000;

const SIZES = [
  'vocabSize',
  'hiddenSize',
  'intermediateSize',
  'numHiddenLayers',
  'numAttentionHeads',
  'numKeyValueHeads',
  'headDim',
] as const;

const GELU_TANH = 'gelu_pytorch_tanh';

const LAYER_TYPES: readonly LayerType[] = ['sliding_attention', 'full_attention'];

/** Keys that the current layout replaces, or that Gemma-2 does not read. */
const KEYS_OF_2024 = ['rope_theta', 'rope_scaling', 'torch_dtype', 'hidden_act'];

const FLOAT_KEYS = 'attn_logit_softcapping|final_logit_softcapping|rms_norm_eps|rope_theta|initializer_range';

/** transformers 5 refuses 50 where it expects 50.0, and JSON.stringify writes 50.0 as 50. Expects one key per line. */
const withFloats = (text: string) => text.replace(new RegExp(`^( *"(?:${FLOAT_KEYS})": \\d+)(,?)$`, 'gm'), '$1.0$2');

/** Reads the rotary base as transformers does: a non-empty `rope_scaling` takes precedence over `rope_parameters`. */
function ropeTheta(
  json: Record<string, unknown>,
  refuse: (key: string, found: unknown, expected: string) => Error,
): number {
  const key = json.rope_scaling ? 'rope_scaling' : 'rope_parameters';
  const rope = json[key] ?? {};
  if (!isObject(rope) || LAYER_TYPES.some((type) => Object.hasOwn(rope, type))) {
    throw refuse(key, rope, 'an object with rope_theta and rope_type, the same for all layers');
  }
  const type = rope.rope_type ?? rope.type ?? 'default';
  if (type !== 'default')
    throw refuse(`${key}.rope_type`, type, '"default" (scaled rotary embeddings are not supported)');
  const theta = rope.rope_theta ?? json.rope_theta ?? gemma2_2b.ropeTheta;
  if (!isPositive(theta)) throw refuse('rope_theta', theta, 'a number above 0');
  return theta;
}

/** Whether a value is a number above 0 in float32. */
const isPositive = (value: unknown): value is number =>
  typeof value === 'number' && Math.fround(value) > 0 && Math.fround(value) < Infinity;
const isIntegerFrom =
  (min: number, max: number) =>
  (value: unknown): value is number =>
    Number.isInteger(value) && Number(value) >= min && Number(value) <= max;
const isBoolean = (value: unknown): value is boolean => typeof value === 'boolean';
const isLayerTypes = (value: unknown): value is LayerType[] =>
  Array.isArray(value) && value.every((type) => LAYER_TYPES.includes(type));
const is =
  <T extends string | boolean | null>(expected: T) =>
  (value: unknown): value is T =>
    value === expected;
const orNull =
  <T>(accepts: (value: unknown) => value is T) =>
  (value: unknown): value is T | null =>
    value === null || accepts(value);
const isFalseOrNull = orNull(is(false));
const isGeluOrNull = (value: unknown): value is string | null =>
  value === null || value === 'gelu' || value === GELU_TANH;
