// Damaged config.json and generation_config.json of a model's folder. An accepted configuration has the file's numbers, in range.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { estimateMemory, type Gemma2Config, parseConfig, tensorShapes, writeConfig } from '@wpo/gemma';
import { readModelFolder } from '@wpo/gemma/node';
import fc from 'fast-check';
import { expectPlainError, type Family, mutatedJson, mutatedText } from '../family';

const current = {
  ...{ architectures: ['Gemma2ForCausalLM'], attention_bias: false, attention_dropout: 0, attn_logit_softcapping: 50 },
  ...{ bos_token_id: 2, dtype: 'float32', eos_token_id: 1, final_logit_softcapping: 30, head_dim: 32, hidden_size: 64 },
  ...{ hidden_activation: 'gelu_pytorch_tanh', initializer_range: 0.02, intermediate_size: 160, pad_token_id: 0 },
  ...{ layer_types: ['sliding_attention', 'full_attention'], max_position_embeddings: 256, model_type: 'gemma2' },
  ...{ num_attention_heads: 4, num_hidden_layers: 2, num_key_value_heads: 2, query_pre_attn_scalar: 24 },
  ...{ rms_norm_eps: 1e-6, rope_parameters: { rope_theta: 10000, rope_type: 'default' }, sliding_window: 64 },
  ...{ tie_word_embeddings: true, use_bidirectional_attention: null, vocab_size: 1722 },
};
const { rope_parameters: _, layer_types: __, dtype: ___, ...rest } = current;
const of2024 = {
  ...rest,
  rope_theta: 10000,
  torch_dtype: 'bfloat16',
  hidden_act: 'gelu_pytorch_tanh',
  eos_token_id: [1, 107],
};
const generation = {
  _from_model_config: true,
  bos_token_id: 2,
  eos_token_id: [1, 107],
  pad_token_id: 0,
  max_length: 4096,
};

/** The texts of both files. */
interface Input {
  readonly config: string;
  readonly generation: string;
}

const text = (seeds: readonly object[]) =>
  fc.oneof(
    { weight: 3, arbitrary: mutatedJson(seeds).map((value) => JSON.stringify(value) ?? '') },
    { weight: 1, arbitrary: mutatedText(seeds.map((value) => JSON.stringify(value, null, 2))) },
  );

const whole = (value: object) => fc.constant(JSON.stringify(value));

const input: fc.Arbitrary<Input> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ config: text([current, of2024]), generation: whole(generation) }) },
  { weight: 2, arbitrary: fc.record({ config: whole(current), generation: text([generation]) }) },
);

/** A header without tensors: only the names and sizes of files are checked here. */
const weights = Buffer.from('\x02\0\0\0\0\0\0\0{}', 'latin1');

const SIZES = {
  vocabSize: 'vocab_size',
  hiddenSize: 'hidden_size',
  intermediateSize: 'intermediate_size',
  numHiddenLayers: 'num_hidden_layers',
  numAttentionHeads: 'num_attention_heads',
  numKeyValueHeads: 'num_key_value_heads',
  headDim: 'head_dim',
  queryPreAttnScalar: 'query_pre_attn_scalar',
  maxPositionEmbeddings: 'max_position_embeddings',
} as const;

function checkConfig(config: Gemma2Config, json: Record<string, unknown>): void {
  for (const [field, key] of Object.entries(SIZES) as [keyof typeof SIZES, string][]) {
    const value = config[field];
    if (key in json && json[key] !== value) throw new Error(`${key}: expected ${json[key]}, found ${value}`);
    if (!(Number.isInteger(value) && value > 0 && value < 2 ** 31)) throw new Error(`${key}: ${value} was accepted`);
  }
  if (config.layerTypes.length !== config.numHiddenLayers) throw new Error('another number of layer types');
  const ids = [json.eos_token_id ?? []].flat();
  if ('eos_token_id' in json && JSON.stringify(config.eosTokenId) !== JSON.stringify(ids))
    throw new Error('other eos ids');
  if (!config.eosTokenId.every((id) => id === 1 || id < config.vocabSize))
    throw new Error('an eos id beyond the vocabulary');
  const again = parseConfig(JSON.parse(writeConfig(config, { dtype: 'F32', extra: json })), 'again');
  if (JSON.stringify(again) !== JSON.stringify(config))
    throw new Error('another configuration after writing and reading');
  if (tensorShapes(config).size !== 2 + 11 * config.numHiddenLayers) throw new Error('another number of tensors');
  const { total } = estimateMemory(config, { kind: 'score', tokens: 100, answerTokens: 50 });
  if (!(total > 0 && total < Infinity)) throw new Error(`an estimate of ${total} bytes`);
}

export const family: Family<Input> = {
  name: 'config',
  input,
  async check({ config, generation }, { folder, count }) {
    const path = join(folder, 'model');
    mkdirSync(path, { recursive: true });
    writeFileSync(join(path, 'config.json'), config);
    writeFileSync(join(path, 'generation_config.json'), generation);
    writeFileSync(join(path, 'model.safetensors'), weights);
    try {
      const model = await readModelFolder(path);
      await model.checkpoint.close();
      checkConfig(model.config, JSON.parse(config.replace(/^\ufeff/, '')));
      if (!model.stopIds.every((id) => Number.isInteger(id) && id >= 0 && id < 2 ** 31))
        throw new Error('a stop id out of range');
      count('read right');
    } catch (error) {
      expectPlainError(error);
      if (!(error as Error).message.includes(path)) throw error; // not of a check above
      count('refused');
    }
  },
};
