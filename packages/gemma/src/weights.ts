import * as tf from '@tensorflow/tfjs-core';
import { describe } from '@wpo/internal/describe';
import { printable } from '@wpo/internal/printable';
import { isAdapted, loraParameters } from './adapter/lora-linear';
import { checkSizes } from './config';
import { checkWeight } from './finite';
import { type DecoderLayer, type Gemma2, type Gemma2Config, type Gemma2Weights, weightShapes } from './model';
import type { Weight, WeightValue } from './ops/contract';
import {
  type FrozenWeight,
  frozenWeight,
  type Parameter,
  type ParameterOptions,
  type ParameterValue,
  parameter,
} from './parameter';
import type { Block } from './tape';

/** Named tensors to load weights from: an open checkpoint, or any object with these functions. */
export interface TensorSource {
  /** Where the tensors come from, for messages. Default `checkpoint`. */
  readonly where?: string;
  names(): readonly string[];
  info(name: string): { readonly shape: readonly number[] };
  /** The values in float32, row-major. */
  read(name: string): Promise<Float32Array>;
  /** Where the tensor's little-endian bytes are, for loaders that read them directly. Absent for a source without files. */
  locate?(name: string): TensorLocation;
}

export interface TensorLocation {
  readonly path: string;
  /** Descriptor of the open file. */
  readonly file: number;
  /** Bytes of the file when it was opened. */
  readonly fileSize: number;
  /** Offset of the tensor's first byte in the file. */
  readonly offset: number;
  /** safetensors' name of the type: `F32`, `BF16`, … */
  readonly dtype: string;
  readonly shape: readonly number[];
}

/** Loads a tensor to the device that computes with it. The caller owns the result. */
export type TensorLoader<T extends WeightValue = ParameterValue> = (source: TensorSource, name: string) => Promise<T>;

/** Reads a tensor's values and passes them to the current tfjs backend. */
export const readTensor: TensorLoader<tf.Tensor> = async (source, name) => {
  const tensor = tf.tensor(await source.read(name), [...source.info(name).shape], 'float32');
  upload(tensor);
  return tensor;
};

/** tfjs uploads a tensor at its first use and holds the array until then. A slice of one value uploads it now. */
const upload = (tensor: tf.Tensor) =>
  tf.dispose(
    tf.slice(
      tensor,
      tensor.shape.map(() => 0),
      tensor.shape.map(() => 1),
    ),
  );

/** Calls `f` for every weight with its checkpoint name, in checkpoint order. */
export function mapWeights<A, B>(weights: Gemma2Weights<A>, f: (value: A, name: string) => B): Gemma2Weights<B> {
  const mapLayer = (layer: DecoderLayer<A>, index: number): DecoderLayer<B> => {
    const at = (module: string, value: A) => f(value, `model.layers.${index}.${module}.weight`);
    const { selfAttn, mlp } = layer;
    return {
      inputLayernorm: at('input_layernorm', layer.inputLayernorm),
      selfAttn: {
        qProj: at('self_attn.q_proj', selfAttn.qProj),
        kProj: at('self_attn.k_proj', selfAttn.kProj),
        vProj: at('self_attn.v_proj', selfAttn.vProj),
        oProj: at('self_attn.o_proj', selfAttn.oProj),
      },
      postAttentionLayernorm: at('post_attention_layernorm', layer.postAttentionLayernorm),
      preFeedforwardLayernorm: at('pre_feedforward_layernorm', layer.preFeedforwardLayernorm),
      mlp: {
        gateProj: at('mlp.gate_proj', mlp.gateProj),
        upProj: at('mlp.up_proj', mlp.upProj),
        downProj: at('mlp.down_proj', mlp.downProj),
      },
      postFeedforwardLayernorm: at('post_feedforward_layernorm', layer.postFeedforwardLayernorm),
    };
  };
  return {
    embedTokens: f(weights.embedTokens, EMBEDDING),
    layers: weights.layers.map(mapLayer),
    norm: f(weights.norm, 'model.norm.weight'),
  };
}

const EMBEDDING = 'model.embed_tokens.weight';
/** Tied to the embedding, and so redundant; some checkpoints have it. */
const HEAD = 'lm_head.weight';
/** Rotary frequencies, which old versions of transformers saved. They follow from the config, so their values are not read. */
const isRotaryBuffer = (name: string) =>
  /^model\.(layers\.\d+\.self_attn\.)?rotary_emb\.(original_)?inv_freq$/.test(name);

/**
 * Every tensor of a Gemma-2 checkpoint by name, with its shape.
 *
 * @throws RangeError for a size out of range
 */
export function tensorShapes(config: Gemma2Config): Map<string, readonly number[]> {
  checkSizes(config);
  const shapes = new Map<string, readonly number[]>();
  mapWeights(weightShapes(config), (shape, name) => shapes.set(name, shape));
  return shapes;
}

/** All weights of a model, in checkpoint order. */
export function parametersOf<W extends Weight>(model: Gemma2<W>): W[] {
  const parameters: W[] = [];
  mapWeights(model, (parameter) => parameters.push(parameter));
  return parameters;
}

/** The weights of a model that have gradients; in place of an adapted weight, its adapter's. In checkpoint order. */
export const trainableParameters = (model: Gemma2): Parameter[] => parametersOf(model).flatMap(trainablePart);

/** Those of one block. */
export function blockParameters({ embedTokens, layers, norm }: Gemma2, block: Block): Parameter[] {
  if (block === 'embedding') return trainablePart(embedTokens);
  if (block === 'norm') return trainablePart(norm);
  const { selfAttn, mlp, ...norms } = layers[block]!;
  return [selfAttn, mlp, norms].flatMap((weights) => Object.values<Weight>(weights)).flatMap(trainablePart);
}

const trainablePart = (w: Weight): Parameter[] => (isAdapted(w) ? loraParameters(w.lora) : [w]).filter(isParameter);

/** Whether any weight has an adapter with dropout. */
export const hasDropout = (model: Gemma2): boolean =>
  parametersOf(model).some((w) => isAdapted(w) && w.lora.dropout !== null);

const isParameter = (w: Weight): w is Parameter => w.trainable;

export interface LoadOptions extends Pick<ParameterOptions, 'kernels'> {
  /** Default true: weights with gradients. */
  readonly trainable?: true;
  /** Default `readTensor`, which runs on any tfjs backend. It may return values in the storage of the kernels. */
  readonly loadTensor?: TensorLoader;
}

/** Options for weights without gradients. */
export interface FrozenLoadOptions {
  readonly trainable: false;
  /** Default `readTensor`. It may return any value that the model's kernels read. */
  readonly loadTensor?: TensorLoader<WeightValue>;
}

/**
 * Loads a model's weights, one tensor at a time.
 *
 * NaN and infinity are refused in parameters and tensors. Other values that a loader holds outside of tfjs are not scanned, so that
 * mapping a file takes no time: the logits and losses that they lead to are refused instead.
 *
 * @throws Error before anything is read if tensors are missing, unexpected or of another shape; the error lists them all.
 *   ModelError if a weight is NaN or infinite
 */
export async function loadWeights(
  config: Gemma2Config,
  source: TensorSource,
  options: FrozenLoadOptions,
): Promise<Gemma2<FrozenWeight>>;
export async function loadWeights(
  config: Gemma2Config,
  source: TensorSource,
  options?: LoadOptions,
): Promise<Gemma2<Parameter>>;
export async function loadWeights(
  config: Gemma2Config,
  source: TensorSource,
  options: LoadOptions | FrozenLoadOptions = {},
): Promise<Gemma2<Parameter | FrozenWeight>> {
  checkTensors(config, source);
  if (source.names().includes(HEAD)) await checkTiedHead(source); // first: it holds two copies of a large tensor
  const load = options.trainable === false ? frozenLoader(options) : parameterLoader(options);
  const loaded = new Map<string, Parameter | FrozenWeight>();
  try {
    for (const name of inFileOrder(source, [...tensorShapes(config).keys()])) {
      const weight = await load(source, name);
      loaded.set(name, weight);
      const value = weight.value();
      if (weight.trainable || value instanceof tf.Tensor) await checkWeight(name, value, source.where ?? 'checkpoint');
    }
  } catch (error) {
    for (const { dispose } of loaded.values()) dispose();
    throw error;
  }
  return { config, ...mapWeights(weightShapes(config), (_, name) => loaded.get(name)!) };
}

const frozenLoader =
  ({ loadTensor = readTensor }: FrozenLoadOptions) =>
  async (source: TensorSource, name: string): Promise<FrozenWeight> =>
    frozenWeight(name, await loadTensor(source, name));

const parameterLoader =
  ({ kernels, loadTensor = readTensor }: LoadOptions) =>
  async (source: TensorSource, name: string): Promise<Parameter> =>
    parameter(name, await loadTensor(source, name), { decay: !name.includes('norm'), kernels });

/** Sorts names by file and offset, if known: sequential reads are faster. */
function inFileOrder(source: TensorSource, names: readonly string[]): readonly string[] {
  if (!source.locate) return names;
  const located = names.map((name) => ({ name, ...source.locate!(name) }));
  located.sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : a.offset - b.offset));
  return located.map(({ name }) => name);
}

function checkTensors(config: Gemma2Config, source: TensorSource): void {
  const expected = tensorShapes(config);
  const found = new Set(source.names());
  const missing = [...expected.keys()].filter((name) => !found.has(name));
  const unexpected = [...found].filter((name) => !expected.has(name) && name !== HEAD && !isRotaryBuffer(name));
  const misshapen = [...expected].flatMap(([name, shape]) => {
    if (!found.has(name)) return [];
    const has = source.info(name).shape;
    return has.length === shape.length && has.every((n, i) => n === shape[i])
      ? []
      : [`${name} (expected ${describe(shape)}, found ${describe(has)})`];
  });
  const problems = [
    ...(missing.length ? [`missing ${list(missing)}`] : []),
    ...(unexpected.length ? [`unexpected ${list(unexpected)}`] : []),
    ...(misshapen.length ? [`of another shape ${list(misshapen)}`] : []),
  ];
  if (problems.length === 0) return;
  throw new Error(
    `${source.where ?? 'checkpoint'}: expected the tensors of its config.json (${config.numHiddenLayers} layers, hidden size ` +
      `${config.hiddenSize}), found: ${problems.join('; ')}. ${hintFor(missing, unexpected)}`,
  );
}

function hintFor(missing: readonly string[], unexpected: readonly string[]): string {
  const has = (pattern: RegExp) => unexpected.some((name) => pattern.test(name));
  if (has(/\.lora_[AB]\./)) {
    return 'These are the weights of a LoRA adapter. Give its base model as the model, and this folder as its adapter.';
  }
  if (has(/\.(weight_scale|scales|qweight|qzeros|absmax|quant_map|weight_scale_inv|SCB)\b/)) {
    return 'Quantized checkpoints are not supported: use the original weights.';
  }
  if (missing.length > 0 && has(/(^|\.)model\.embed_tokens\.weight$/)) {
    return 'The names have a prefix, as a wrapped model has: save the inner model with save_pretrained.';
  }
  if (missing.length === 0) return 'Save the model alone with save_pretrained: these tensors are not part of Gemma-2.';
  return 'Check that config.json and the safetensors files belong together.';
}

async function checkTiedHead(source: TensorSource): Promise<void> {
  const [head, embedding] = [await source.read(HEAD), await source.read(EMBEDDING)];
  if (head.length === embedding.length && head.every((value, i) => Object.is(value, embedding[i]))) return;
  throw new Error(
    `${source.where ?? 'checkpoint'}: ${HEAD}: expected the values of ${EMBEDDING}, since Gemma-2 uses its embedding as the output ` +
      'projection, found other values. A model that was trained with tie_word_embeddings: false is not supported.',
  );
}

const list = (names: readonly string[]) =>
  names
    .slice(0, 8)
    .map((name) => printable(name, 200))
    .join(', ') + (names.length > 8 ? ` and ${names.length - 8} more` : '');
