import '@wpo/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, test } from 'vitest';
import { ModelError } from '../src/errors';
import { generate, sequenceLogits } from '../src/generate';
import type { Gemma2Config } from '../src/model';
import type { WeightValue } from '../src/ops/contract';
import { gemmaPolicy } from '../src/policy';
import { loadWeights, parametersOf, type TensorSource, tensorShapes } from '../src/weights';
import { randomModel } from './models';

const config: Gemma2Config = {
  ...{ vocabSize: 6, hiddenSize: 4, intermediateSize: 6, numHiddenLayers: 2 },
  ...{ numAttentionHeads: 2, numKeyValueHeads: 1, headDim: 2, queryPreAttnScalar: 2, slidingWindow: 4 },
  ...{ attnLogitSoftcapping: 50, finalLogitSoftcapping: 30, rmsNormEps: 1e-6, ropeTheta: 10000 },
  ...{ maxPositionEmbeddings: 128, layerTypes: ['sliding_attention', 'full_attention'] },
  ...{ bosTokenId: 2, eosTokenId: [1], padTokenId: 0 },
};

const EMBEDDING = 'model.embed_tokens.weight';
const HEAD = 'lm_head.weight';
const UP = 'model.layers.1.mlp.up_proj.weight';

/** A checkpoint whose tensors have the values 0, 0.01, 0.02, … unless others are given; null removes a tensor. */
function source(given: Readonly<Record<string, Float32Array | null>> = {}): TensorSource {
  const shapes = new Map<string, readonly number[]>(tensorShapes(config));
  for (const [name, values] of Object.entries(given)) {
    if (values === null) shapes.delete(name);
    else if (!shapes.has(name)) shapes.set(name, name === HEAD ? [6, 4] : [values.length]);
  }
  return {
    where: 'models/a',
    names: () => [...shapes.keys()],
    info: (name) => ({ shape: shapes.get(name)! }),
    read: async (name) =>
      given[name] ?? Float32Array.from({ length: tf.util.sizeFromShape([...shapes.get(name)!]) }, (_, i) => i / 100),
  };
}

const embedding = Float32Array.from({ length: 24 }, (_, i) => i / 100);

describe('loadWeights', () => {
  test.each([
    ['an output projection that is equal to the embedding', { [HEAD]: embedding }],
    ['rotary frequencies of each layer', { 'model.layers.0.self_attn.rotary_emb.inv_freq': Float32Array.of(1) }],
    ['rotary frequencies of the model', { 'model.rotary_emb.inv_freq': Float32Array.of(1) }],
  ])('accepts %s, which transformers ignores', async (_, tensors) => {
    const model = await loadWeights(config, source(tensors));
    expect(parametersOf(model).map(({ name }) => name)).toEqual([...tensorShapes(config).keys()]);
    expect(await model.embedTokens.value().data()).toEqual(embedding);
  });

  test.each([
    [
      'another output projection',
      { [HEAD]: embedding.map((x) => x + 1) },
      'models/a: lm_head.weight: expected the values of',
    ],
    [
      'a missing tensor',
      { [UP]: null },
      `missing ${UP}. Check that config.json and the safetensors files belong together`,
    ],
    [
      'a bias',
      { 'model.layers.0.self_attn.q_proj.bias': embedding },
      'unexpected model.layers.0.self_attn.q_proj.bias. Save the model',
    ],
    ['a value head', { 'v_head.summary.weight': embedding }, 'unexpected v_head.summary.weight. Save the model alone'],
    [
      'an adapter',
      { 'model.layers.0.mlp.up_proj.lora_A.weight': embedding },
      'These are the weights of a LoRA adapter',
    ],
    [
      'quantized weights',
      { [UP]: null, [`${UP}_scale`]: embedding, 'a.weight_scale': embedding },
      'Quantized checkpoints are not',
    ],
    ['a prefix', { [EMBEDDING]: null, [`base_model.model.${EMBEDDING}`]: embedding }, 'The names have a prefix'],
    ['a name with control characters', { 'x\u001b[2J': embedding }, 'unexpected x\\u001b[2J'],
  ])('names %s', async (_, tensors, message) => {
    await expect(loadWeights(config, source(tensors))).rejects.toThrow(message);
  });

  test.each([NaN, Infinity, -Infinity])('refuses the weight %s, and names its tensor', async (value) => {
    const values = Float32Array.from({ length: 24 }, (_, i) => (i === 17 ? value : 0.1));
    const loading = loadWeights(config, source({ [UP]: values }));
    await expect(loading).rejects.toThrow(
      `models/a: tensor "${UP}": expected finite numbers, found ${value} at index 17. The file is damaged`,
    );
    await expect(loading).rejects.toBeInstanceOf(ModelError);
  });

  test('accepts finite weights whose sum is infinite', async () => {
    const values = new Float32Array(24).fill(3e38);
    await expect(loadWeights(config, source({ [UP]: values }))).resolves.toBeDefined();
  });

  test.each([
    [{ numHiddenLayers: 1e9 }, 'config: numHiddenLayers: expected a whole number from 1 to 1000, found 1000000000'],
    [
      { vocabSize: 2 ** 32 + 2048 },
      'config: vocabSize: expected a whole number from 1 to 2147483647, found 4294969344',
    ],
    [{ headDim: 1.5 }, 'config: headDim: expected a whole number from 1 to 2147483647, found 1.5'],
  ])('refuses a config with %o', async (sizes, message) => {
    await expect(loadWeights({ ...config, ...sizes }, source())).rejects.toThrow(new RangeError(`${message}.`));
  });

  test('leaves no tensor behind where it fails', async () => {
    const before = tf.memory().numTensors;
    await expect(loadWeights(config, source({ [UP]: new Float32Array(24).fill(NaN) }))).rejects.toThrow();
    expect(tf.memory().numTensors).toBe(before);
  });
});

describe('weights without gradients', () => {
  test('give the same logits, are no parameters of a policy, and get no gradients', async () => {
    const before = tf.memory().numTensors;
    const [frozen, trainable] = [
      await loadWeights(config, source(), { trainable: false }),
      await loadWeights(config, source()),
    ];
    expect(await sequenceLogits(frozen, [2, 3])).toEqual(await sequenceLogits(trainable, [2, 3]));
    const policy = gemmaPolicy(frozen);
    expect(policy.parameters).toEqual([]);
    expect(gemmaPolicy(trainable).parameters).toEqual(parametersOf(trainable));
    const loaded = tf.memory().numTensors;
    const pass = await policy.forward([{ id: 'a', prompt: [2], chosen: [3, 1], rejected: [4] }], { train: true });
    await pass.backward(Float32Array.of(1, 1, -1));
    pass.dispose();
    expect(tf.memory().numTensors).toBe(loaded);
    for (const weight of [...parametersOf(frozen), ...parametersOf(trainable)]) weight.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });

  test('may be values that are not tensors, which are not scanned', async () => {
    const disposed: string[] = [];
    const loadTensor = async (tensors: TensorSource, name: string): Promise<WeightValue> => ({
      shape: tensors.info(name).shape,
      clone: () => expect.unreachable('no second handle is needed'),
      data: () => expect.unreachable('values are not read'),
      dispose: () => void disposed.push(name),
    });
    const model = await loadWeights(config, source(), { trainable: false, loadTensor });
    for (const weight of parametersOf(model)) weight.dispose();
    expect(disposed).toEqual([...tensorShapes(config).keys()]);
  });

  test.each([NaN, Infinity])('are refused with %s, if they are tensors', async (value) => {
    const values = Float32Array.from({ length: 24 }, (_, i) => (i === 3 ? value : 0.1));
    await expect(loadWeights(config, source({ [UP]: values }), { trainable: false })).rejects.toThrow(
      `models/a: tensor "${UP}": expected finite numbers, found ${value} at index 3`,
    );
  });
});

describe('logits that are not finite', () => {
  test('are refused, naming the weight', async () => {
    const model = await randomModel(config, 1);
    const weight = parametersOf(model).find(({ name }) => name === UP)!;
    weight.assign(tf.fill([6, 4], NaN));
    const message = `expected finite logits, found NaN. The weight "${UP}" has NaN at index 0`;
    await expect(generate(model, [2, 3])).rejects.toThrow(`generate: token 0 of the answer: ${message}`);
    await expect(sequenceLogits(model, [2, 3])).rejects.toThrow(`sequenceLogits: ${message}`);
    await expect(generate(model, [2, 3])).rejects.toBeInstanceOf(ModelError);
  });

  test('of finite weights are said to exceed float32', async () => {
    const model = await randomModel({ ...config, finalLogitSoftcapping: null }, 1);
    for (const weight of parametersOf(model)) {
      if (weight.name === EMBEDDING) weight.assign(tf.fill([6, 4], 3e38));
    }
    await expect(generate(model, [2, 3])).rejects.toThrow(
      "All weights are finite, but the model's values exceed float32",
    );
  });
});
