import { readFileSync } from 'node:fs';
import { fc, test as prop } from '@fast-check/vitest';
import { describe, expect, test } from 'vitest';
import { gemma2_2b, gemma2_9b, gemma2_27b, parseConfig, writeConfig } from '../src/config';
import type { Gemma2Config } from '../src/model';

const fixture = (variant: string): Record<string, unknown> =>
  JSON.parse(readFileSync(new URL(`./fixtures/golden/${variant}/config.json`, import.meta.url), 'utf8'));

const tiny: Gemma2Config = {
  vocabSize: 1722,
  hiddenSize: 64,
  intermediateSize: 160,
  numHiddenLayers: 4,
  numAttentionHeads: 4,
  numKeyValueHeads: 2,
  headDim: 32,
  queryPreAttnScalar: 32,
  slidingWindow: 48,
  attnLogitSoftcapping: 50,
  finalLogitSoftcapping: 30,
  rmsNormEps: 1e-6,
  ropeTheta: 10000,
  maxPositionEmbeddings: 512,
  layerTypes: ['sliding_attention', 'full_attention', 'sliding_attention', 'full_attention'],
  bosTokenId: 2,
  eosTokenId: [1, 107],
  padTokenId: 0,
};

describe('parseConfig', () => {
  test('reads the current layout', () => {
    expect(parseConfig(fixture('tiny'), 'config.json')).toEqual(tiny);
  });

  test('reads the layout of 2024: flat rope_theta, no layer_types', () => {
    expect(parseConfig(fixture('odd'), 'config.json')).toEqual({
      ...tiny,
      hiddenSize: 96,
      intermediateSize: 200,
      numHiddenLayers: 3,
      numAttentionHeads: 6,
      numKeyValueHeads: 3,
      headDim: 16,
      queryPreAttnScalar: 24,
      slidingWindow: 32,
      layerTypes: ['sliding_attention', 'full_attention', 'sliding_attention'],
      eosTokenId: [1],
    });
  });

  test('reads a 2024 file of the 9B model as the preset', () => {
    const file = {
      ...{ architectures: ['Gemma2ForCausalLM'], attention_bias: false, attention_dropout: 0, model_type: 'gemma2' },
      ...{ attn_logit_softcapping: 50, final_logit_softcapping: 30, cache_implementation: 'hybrid', use_cache: true },
      ...{
        bos_token_id: 2,
        eos_token_id: 1,
        pad_token_id: 0,
        hidden_act: 'gelu',
        hidden_activation: 'gelu_pytorch_tanh',
      },
      ...{ head_dim: 256, hidden_size: 3584, intermediate_size: 14336, max_position_embeddings: 8192 },
      ...{ num_attention_heads: 16, num_hidden_layers: 42, num_key_value_heads: 8, query_pre_attn_scalar: 256 },
      ...{ rms_norm_eps: 1e-6, rope_theta: 10000, sliding_window: 4096, sliding_window_size: 4096, vocab_size: 256000 },
      ...{ torch_dtype: 'bfloat16', transformers_version: '4.42.0.dev0' },
    };
    expect(parseConfig(file, 'config.json')).toEqual(gemma2_9b);
  });

  test("absent keys have transformers' defaults, the values of the 2B model", () => {
    expect(parseConfig({ model_type: 'gemma2' }, 'config.json')).toEqual(gemma2_2b);
  });

  test('reads null as no cap and no token id', () => {
    const file = {
      ...fixture('tiny'),
      attn_logit_softcapping: null,
      final_logit_softcapping: null,
      ...{ bos_token_id: null, eos_token_id: null, pad_token_id: null },
    };
    expect(parseConfig(file, 'config.json')).toEqual({
      ...tiny,
      ...{ attnLogitSoftcapping: null, finalLogitSoftcapping: null },
      ...{ bosTokenId: null, eosTokenId: [], padTokenId: null },
    });
  });

  test.each([
    [
      'rope_parameters, before the flat key',
      { rope_parameters: { rope_theta: 5e5, rope_type: 'default' }, rope_theta: 1 },
      5e5,
    ],
    [
      'the flat key where rope_parameters has none',
      { rope_parameters: { rope_type: 'default' }, rope_theta: 5e5 },
      5e5,
    ],
    ['the flat key with a null rope_scaling', { rope_parameters: undefined, rope_scaling: null, rope_theta: 7 }, 7],
    ['10000, the default', { rope_parameters: undefined }, 10000],
  ])('takes the rotary base from %s', (_, keys, theta) => {
    expect(parseConfig({ ...fixture('tiny'), ...keys }, 'config.json').ropeTheta).toBe(theta);
  });

  test('reads gelu in hidden_act as the tanh form, as Gemma files mean it', () => {
    const { hidden_activation: _, ...file } = fixture('tiny');
    expect(parseConfig({ ...file, hidden_act: 'gelu' }, 'config.json')).toEqual(tiny);
    expect(parseConfig({ ...file, hidden_activation: 'gelu_pytorch_tanh', hidden_act: 'silu' }, 'x')).toEqual(tiny);
  });

  test('needs no sliding window without sliding-window layers', () => {
    const file = { ...fixture('tiny'), sliding_window: null, layer_types: Array(4).fill('full_attention') };
    expect(parseConfig(file, 'config.json').layerTypes).not.toContain('sliding_attention');
  });

  const refusals: [what: string, keys: Record<string, unknown>, message: string][] = [
    [
      'another model',
      { model_type: 'gemma3_text' },
      'model_type: expected "gemma2" (only Gemma-2 models are supported), found "gemma3_text"',
    ],
    [
      'no model_type',
      { model_type: undefined },
      'model_type: expected "gemma2" (only Gemma-2 models are supported), found nothing',
    ],
    [
      'a fractional size',
      { hidden_size: 64.5 },
      'hidden_size: expected a whole number from 1 to 2147483647, found 64.5',
    ],
    ['a size of 0', { num_hidden_layers: 0 }, 'num_hidden_layers: expected a whole number from 1 to 1000, found 0'],
    ['a negative size', { vocab_size: -1 }, 'vocab_size: expected a whole number from 1 to 2147483647, found -1'],
    [
      'a size as text',
      { intermediate_size: '160' },
      'intermediate_size: expected a whole number from 1 to 2147483647, found "160"',
    ],
    ['a null size', { head_dim: null }, 'head_dim: expected a whole number from 1 to 2147483647, found null'],
    [
      'a number of query heads that the key-value heads do not divide',
      { num_key_value_heads: 3 },
      'num_attention_heads: expected a multiple of num_key_value_heads (3), found 4',
    ],
    [
      'an odd head dimension',
      { head_dim: 31 },
      'head_dim: expected an even number (rotary embeddings rotate pairs), found 31',
    ],
    [
      'a hidden size that the heads do not divide',
      { hidden_size: 66 },
      'hidden_size: expected a multiple of num_attention_heads (4), found 66',
    ],
    [
      'biases',
      { attention_bias: true },
      "attention_bias: expected false (Gemma-2's projections have no bias), found true",
    ],
    [
      'bidirectional attention',
      { use_bidirectional_attention: true },
      'use_bidirectional_attention: expected false (attention is causal), found true',
    ],
    [
      'quantized weights',
      { quantization_config: { bits: 4 } },
      'quantization_config: expected null (quantized weights are not supported), found {"bits":4}',
    ],
    [
      'another activation',
      { hidden_activation: 'silu' },
      'hidden_activation: expected "gelu_pytorch_tanh", found "silu"',
    ],
    [
      'another activation in the old key',
      { hidden_activation: undefined, hidden_act: 'relu' },
      'hidden_act: expected "gelu_pytorch_tanh", found "relu"',
    ],
    [
      'scaled rotary embeddings',
      { rope_parameters: { rope_type: 'yarn', factor: 4 } },
      'rope_parameters.rope_type: expected "default" (scaled rotary embeddings are not supported), found "yarn"',
    ],
    [
      'scaled rotary embeddings in the old key',
      { rope_scaling: { type: 'linear', factor: 2 } },
      'rope_scaling.rope_type: expected "default" (scaled rotary embeddings are not supported), found "linear"',
    ],
    [
      'rotary embeddings by layer type',
      { rope_parameters: { full_attention: { rope_theta: 1e6 } } },
      'expected an object with rope_theta and rope_type, the same for all layers',
    ],
    [
      'a rotary base that is not a number',
      { rope_parameters: { rope_theta: '1e4' } },
      'rope_theta: expected a number above 0, found "1e4"',
    ],
    [
      'a cap of 0',
      { attn_logit_softcapping: 0 },
      'attn_logit_softcapping: expected a number above 0, or null, found 0',
    ],
    ['an epsilon of 0', { rms_norm_eps: 0 }, 'rms_norm_eps: expected a number above 0, found 0'],
    [
      'layer types of another length',
      { layer_types: ['full_attention'] },
      'layer_types: expected 4 entries (num_hidden_layers), found ["full_attention"]',
    ],
    [
      'an unknown layer type',
      { layer_types: Array(4).fill('chunked') },
      'expected a list of sliding_attention and full_attention',
    ],
    [
      'sliding-window layers without a window',
      { sliding_window: null },
      'sliding_window: expected a whole number above 0 (some layers have sliding_attention), found null',
    ],
    [
      'an eos token that is not a token id',
      { eos_token_id: [1, -1] },
      'eos_token_id: expected a token id from 0 to 1721 (vocab_size is 1722), a list of them, or null, found [1,-1]',
    ],
    [
      'an eos token beyond the vocabulary',
      { eos_token_id: 2 ** 31 },
      'eos_token_id: expected a token id from 0 to 1721 (vocab_size is 1722), a list of them, or null, found 2147483648',
    ],
    [
      'a pad token id beyond 32 bits',
      { pad_token_id: 2 ** 32 + 5 },
      'pad_token_id: expected a token id from 0 to 2147483647',
    ],
    [
      'a size beyond 32 bits',
      { vocab_size: 2 ** 32 + 2048 },
      'vocab_size: expected a whole number from 1 to 2147483647',
    ],
    ['too many layers', { num_hidden_layers: 1e9 }, 'num_hidden_layers: expected a whole number from 1 to 1000'],
    [
      'heads that are too large together',
      { num_attention_heads: 2 ** 20, num_key_value_heads: 1, hidden_size: 2 ** 20, head_dim: 2 ** 12 },
      'head_dim: expected at most 2147483647 for all 1048576 heads (num_attention_heads) together, found 4096',
    ],
    [
      'a cap beyond float32',
      { final_logit_softcapping: 1e39 },
      'final_logit_softcapping: expected a number above 0, or null',
    ],
    [
      'tied embeddings as text',
      { tie_word_embeddings: 'yes' },
      'tie_word_embeddings: expected true or false, found "yes"',
    ],
  ];
  test.each(refusals)('refuses %s', (_, keys, message) => {
    const run = () => parseConfig({ ...fixture('tiny'), ...keys }, 'dir/config.json');
    expect(run).toThrow(message);
    expect(run).toThrow('dir/config.json: ');
  });

  test('the error about a value that is nested a million levels deep is short', () => {
    let nested: unknown = 1;
    for (let level = 0; level < 1e6; level++) nested = level % 2 ? [nested] : { x: nested };
    expect(() => parseConfig({ model_type: 'gemma2', hidden_size: nested }, 'config.json')).toThrow(
      'config.json: hidden_size: expected a whole number from 1 to 2147483647, found [{"x":[{"x":[…]}]}].',
    );
  });

  test('accepts untied embeddings, since the weights decide', () => {
    expect(parseConfig({ ...fixture('tiny'), tie_word_embeddings: false }, 'config.json')).toEqual(tiny);
  });

  test('refuses a file that is not an object', () => {
    expect(() => parseConfig([1], 'config.json')).toThrow('config.json: expected an object, found [1]');
    expect(() => parseConfig(null, 'config.json')).toThrow('config.json: expected an object, found null');
  });
});

describe('presets', () => {
  test('have the published parameter counts', () => {
    // Gemma 2 report (arXiv 2408.00118), table 2, "non-embedding parameters": all layers and the final norm
    const parameters = (c: Gemma2Config) => {
      const attention = 2 * c.hiddenSize * c.headDim * (c.numAttentionHeads + c.numKeyValueHeads);
      return c.numHiddenLayers * (attention + 3 * c.hiddenSize * c.intermediateSize + 4 * c.hiddenSize) + c.hiddenSize;
    };
    expect(parameters(gemma2_2b)).toBe(2_024_517_888);
    expect(parameters(gemma2_9b)).toBe(8_324_201_984);
    expect(parameters(gemma2_27b)).toBe(26_047_480_320);
  });

  test('are read back as they were written', () => {
    for (const preset of [gemma2_2b, gemma2_9b, gemma2_27b]) {
      expect(parseConfig(JSON.parse(writeConfig(preset, { dtype: 'BF16' })), 'x')).toEqual(preset);
    }
  });
});

describe('writeConfig', () => {
  test('writes a file of the current layout back unchanged', () => {
    const json = fixture('tiny');
    const text = writeConfig(parseConfig(json, 'x'), { dtype: 'F32', extra: json });
    expect(JSON.parse(text)).toEqual(json);
    expect(Object.keys(JSON.parse(text))).toEqual(Object.keys(json));
  });

  test('writes whole floats with a decimal point, as transformers 5 requires', () => {
    const text = writeConfig({ ...tiny, rmsNormEps: 1 }, { dtype: 'F32', extra: { initializer_range: 1, mine: 3 } });
    const line = (key: string) =>
      text
        .split('\n')
        .find((l) => l.includes(`"${key}"`))
        ?.trim();
    expect(line('attn_logit_softcapping')).toBe('"attn_logit_softcapping": 50.0,');
    expect(line('final_logit_softcapping')).toBe('"final_logit_softcapping": 30.0,');
    expect(line('rope_theta')).toBe('"rope_theta": 10000.0,');
    expect(line('rms_norm_eps')).toBe('"rms_norm_eps": 1.0,');
    expect(line('initializer_range')).toBe('"initializer_range": 1.0,');
    expect(line('query_pre_attn_scalar')).toBe('"query_pre_attn_scalar": 32,');
    expect(line('mine')).toBe('"mine": 3,');
  });

  test('converts the layout of 2024 to the current one and keeps unknown keys', () => {
    const extra = { ...fixture('odd'), note: { by: 'us' }, rope_scaling: null };
    const json = JSON.parse(writeConfig(parseConfig(extra, 'x'), { dtype: 'BF16', extra }));
    expect(json).toMatchObject({
      dtype: 'bfloat16',
      eos_token_id: 1,
      layer_types: ['sliding_attention', 'full_attention', 'sliding_attention'],
      note: { by: 'us' },
      rope_parameters: { rope_theta: 10000, rope_type: 'default' },
      tie_word_embeddings: true,
    });
    for (const key of ['rope_theta', 'rope_scaling', 'torch_dtype', 'hidden_act']) expect(json).not.toHaveProperty(key);
  });

  const size = fc.integer({ min: 1, max: 1e6 });
  const positive = fc.double({ min: 2 ** -149, max: 3e38, noNaN: true });
  const id = fc.option(fc.nat(1e6));
  const config: fc.Arbitrary<Gemma2Config> = fc
    .record({
      vocabSize: size,
      intermediateSize: size,
      numKeyValueHeads: fc.integer({ min: 1, max: 8 }),
      group: fc.integer({ min: 1, max: 4 }),
      headDim: fc.integer({ min: 1, max: 128 }).map((n) => 2 * n),
      widthPerHead: fc.integer({ min: 1, max: 128 }),
      queryPreAttnScalar: size,
      slidingWindow: size,
      attnLogitSoftcapping: fc.option(positive),
      finalLogitSoftcapping: fc.option(positive),
      rmsNormEps: positive,
      ropeTheta: positive,
      maxPositionEmbeddings: size,
      layerTypes: fc.array(fc.constantFrom('sliding_attention' as const, 'full_attention' as const), { minLength: 1 }),
      bosTokenId: id,
      eosTokenId: fc.array(fc.nat(1e6), { maxLength: 3 }),
      padTokenId: id,
    })
    .map(({ group, widthPerHead, ...rest }) => {
      const numAttentionHeads = group * rest.numKeyValueHeads;
      return {
        ...rest,
        numAttentionHeads,
        hiddenSize: widthPerHead * numAttentionHeads,
        numHiddenLayers: rest.layerTypes.length,
        eosTokenId: rest.eosTokenId.map((id) => id % rest.vocabSize),
      };
    });
  prop.prop([config, fc.dictionary(fc.string(), fc.jsonValue())])(
    'is read back as it was written, whatever other keys the file has',
    (given, extra) => {
      expect(parseConfig(JSON.parse(writeConfig(given, { dtype: 'F32', extra })), 'x')).toEqual(given);
    },
  );
});
