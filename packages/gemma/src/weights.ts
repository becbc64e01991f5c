import * as tf from '@tensorflow/tfjs-core';
import type { Gemma2Config } from './config';
import type { Block, Gemma2 } from './model';
import { type Parameter, type ParameterOptions, parameter } from './parameter';

/** Where tensors come from: an open checkpoint, or anything that answers as one does. */
export interface TensorSource {
  names(): readonly string[];
  info(name: string): { readonly shape: readonly number[] };
  /** The values in float32, row-major. */
  read(name: string): Promise<Float32Array>;
  /** Where the bytes lie, little-endian, for those who read them by themselves; absent where they lie in no file. */
  locate?(name: string): TensorLocation;
}

export interface TensorLocation {
  readonly path: string;
  /** Descriptor of the open file. */
  readonly file: number;
  /** Of the first byte in the file. */
  readonly offset: number;
  /** As safetensors has it: `F32`, `BF16`, … */
  readonly dtype: string;
  readonly shape: readonly number[];
}

/** Brings a tensor to where it is computed with; the result is the caller's. */
export type TensorLoader = (source: TensorSource, name: string) => Promise<tf.Tensor>;

/** Reads a tensor and hands it to tfjs's backend. */
export const readTensor: TensorLoader = async (source, name) => {
  const value = tf.tensor(await source.read(name), [...source.info(name).shape], 'float32');
  upload(value);
  return value;
};

export interface LoadOptions extends Pick<ParameterOptions, 'kernels'> {
  /** Default `readTensor`, on any backend. */
  readonly loadTensor?: TensorLoader;
}

const EMBEDDING = 'model.embed_tokens.weight';
const NORM = 'model.norm.weight';
const HEAD = 'lm_head.weight';

/** A block's tensors: the checkpoint's name after `model.layers.N.`, and the shape. */
const blockTensors = (c: Gemma2Config): Record<keyof Block, readonly [name: string, shape: number[]]> => ({
  inputNorm: ['input_layernorm', [c.hiddenSize]],
  q: ['self_attn.q_proj', [c.numAttentionHeads * c.headDim, c.hiddenSize]],
  k: ['self_attn.k_proj', [c.numKeyValueHeads * c.headDim, c.hiddenSize]],
  v: ['self_attn.v_proj', [c.numKeyValueHeads * c.headDim, c.hiddenSize]],
  o: ['self_attn.o_proj', [c.hiddenSize, c.numAttentionHeads * c.headDim]],
  postAttentionNorm: ['post_attention_layernorm', [c.hiddenSize]],
  preFeedforwardNorm: ['pre_feedforward_layernorm', [c.hiddenSize]],
  gate: ['mlp.gate_proj', [c.intermediateSize, c.hiddenSize]],
  up: ['mlp.up_proj', [c.intermediateSize, c.hiddenSize]],
  down: ['mlp.down_proj', [c.hiddenSize, c.intermediateSize]],
  postFeedforwardNorm: ['post_feedforward_layernorm', [c.hiddenSize]],
});

const blockName = (layer: number, part: string) => `model.layers.${layer}.${part}.weight`;

/** Every tensor of a Gemma-2 checkpoint by name, with its shape. */
export function tensorShapes(config: Gemma2Config): Map<string, readonly number[]> {
  const shapes = new Map<string, readonly number[]>([[EMBEDDING, [config.vocabSize, config.hiddenSize]]]);
  for (let layer = 0; layer < config.numHiddenLayers; layer++) {
    for (const [part, shape] of Object.values(blockTensors(config))) shapes.set(blockName(layer, part), shape);
  }
  return shapes.set(NORM, [config.hiddenSize]);
}

/**
 * Reads a model's weights, one tensor in memory beside those already placed. All names and shapes are checked before the
 * first is read; the error names every tensor that is missing, unexpected or of another shape.
 */
export async function loadWeights(
  config: Gemma2Config,
  source: TensorSource,
  { kernels, loadTensor = readTensor }: LoadOptions = {},
): Promise<Gemma2<Parameter>> {
  checkTensors(config, source);
  const placed = new Map<string, Parameter>();
  try {
    for (const name of asTheyLie(source, [...tensorShapes(config).keys()])) {
      const value = await loadTensor(source, name);
      placed.set(name, parameter(name, value, { decay: !name.includes('norm'), kernels }));
    }
    if (source.names().includes(HEAD)) await checkTiedHead(source);
  } catch (error) {
    for (const { dispose } of placed.values()) dispose();
    throw error;
  }
  const at = (name: string) => placed.get(name)!;
  const parts = Object.entries(blockTensors(config));
  return {
    config,
    embedding: at(EMBEDDING),
    blocks: Array.from(
      { length: config.numHiddenLayers },
      (_, layer) =>
        Object.fromEntries(
          parts.map(([key, [part]]) => [key, at(blockName(layer, part))]),
        ) as unknown as Block<Parameter>,
    ),
    norm: at(NORM),
  };
}

/** All of a model's parameters, in checkpoint order. */
export const parametersOf = (model: Gemma2<Parameter>): Parameter[] => [
  model.embedding,
  ...model.blocks.flatMap((block) => Object.values(block) as Parameter[]),
  model.norm,
];

/** Names in the order of their place in the files, where that is known: a disk read back and forth is slower. */
function asTheyLie(source: TensorSource, names: readonly string[]): readonly string[] {
  if (!source.locate) return names;
  const places = names.map((name) => ({ name, ...source.locate!(name) }));
  places.sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : a.offset - b.offset));
  return places.map(({ name }) => name);
}

function checkTensors(config: Gemma2Config, source: TensorSource): void {
  const wanted = tensorShapes(config);
  const found = new Set(source.names());
  const missing = [...wanted.keys()].filter((name) => !found.has(name));
  const unexpected = [...found].filter((name) => !wanted.has(name) && name !== HEAD);
  const misshapen = [...wanted].flatMap(([name, shape]) => {
    if (!found.has(name)) return [];
    const has = source.info(name).shape;
    return has.length === shape.length && has.every((n, i) => n === shape[i])
      ? []
      : [`${name} is [${has}], wanted [${shape}]`];
  });
  const problems = [
    ...(missing.length ? [`missing: ${listed(missing)}`] : []),
    ...(unexpected.length ? [`unexpected: ${listed(unexpected)}`] : []),
    ...(misshapen.length ? [`of another shape: ${listed(misshapen)}`] : []),
  ];
  if (problems.length === 0) return;
  throw new Error(
    `the checkpoint's tensors are not those of its config.json (${config.numHiddenLayers} layers, hidden size ${config.hiddenSize}): ` +
      `${problems.join('; ')}. Check that config.json and the safetensors files belong together`,
  );
}

/** Moves values to the backend now, not at first use: until then the array that was read stays in memory beside them. */
const upload = (tensor: tf.Tensor) =>
  tf.dispose(
    tf.slice(
      tensor,
      tensor.shape.map(() => 0),
      tensor.shape.map(() => 1),
    ),
  );

/** Some files carry the output head although it is the embedding: only an equal one can be left out. */
async function checkTiedHead(source: TensorSource): Promise<void> {
  const [head, table] = [await source.read(HEAD), await source.read(EMBEDDING)];
  if (head.length === table.length && head.every((value, i) => Object.is(value, table[i]))) return;
  throw new Error(
    `${HEAD} differs from ${EMBEDDING}, but Gemma-2's output head is its embedding: re-tie them, then save again`,
  );
}

const listed = (names: string[]) =>
  names.length > 8 ? `${names.slice(0, 8).join(', ')} and ${names.length - 8} more` : names.join(', ');
