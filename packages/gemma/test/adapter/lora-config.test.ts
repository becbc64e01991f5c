import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import {
  adaptedModules,
  type LoraConfig,
  loraDefaults,
  parseLoraConfig,
  writeLoraConfig,
} from '../../src/adapter/lora-config';
import { gemma2_27b, parseConfig } from '../../src/config';
import { goldenFolder } from '../golden';
import { adapterFolder, peft } from './peft';

const where = 'adapter_config.json';
const at = 'adapter_config.json: target_modules';
const tiny = parseConfig(JSON.parse(readFileSync(`${goldenFolder('tiny')}/config.json`, 'utf8')), 'config.json');
const jsonOf = (name: string) => JSON.parse(readFileSync(`${adapterFolder(name)}/adapter_config.json`, 'utf8'));
const modulesOf = (config: LoraConfig) =>
  Object.fromEntries(adaptedModules(config, tiny, at).map(({ name, r, scaling }) => [name, { r, scaling }]));

test.each(Object.keys(peft.cases))('chooses the modules, ranks and factors that PEFT chooses: %s', (name) => {
  const config = parseLoraConfig(jsonOf(name), where);
  expect(modulesOf(config)).toEqual(peft.cases[name]!.modules);
  const again = parseLoraConfig(JSON.parse(writeLoraConfig(config, 'base')), where);
  expect(again).toEqual(config);
});

test('reads dropout, rsLoRA and DoRA', () => {
  expect(parseLoraConfig(jsonOf('excluded'), where)).toMatchObject({
    loraDropout: 0.25,
    useDora: false,
    useRslora: false,
  });
  expect(parseLoraConfig(jsonOf('expression'), where)).toMatchObject({
    loraDropout: 0,
    useDora: true,
    useRslora: true,
  });
});

test('absent keys have PEFT’s defaults', () => {
  expect(parseLoraConfig({ peft_type: 'LORA' }, where)).toEqual(loraDefaults);
  expect(Object.keys(modulesOf(loraDefaults))).toHaveLength(2 * tiny.numHiddenLayers);
});

test('all-linear is every linear layer of the decoder, in checkpoint order', () => {
  const modules = adaptedModules({ ...loraDefaults, targetModules: 'all-linear' }, gemma2_27b, at);
  expect(modules).toHaveLength(7 * 46);
  expect(modules[1]).toMatchObject({
    name: 'model.layers.0.self_attn.k_proj',
    shape: [16 * 128, 4608],
    r: 8,
    scaling: 1,
  });
});

test('a target that is a whole name is not subject to layers_to_transform', () => {
  const targetModules = ['model.layers.3.mlp.up_proj', 'q_proj'];
  const modules = modulesOf({ ...loraDefaults, targetModules, layersToTransform: [1] });
  expect(Object.keys(modules)).toEqual(['model.layers.1.self_attn.q_proj', 'model.layers.3.mlp.up_proj']);
});

test.each([
  [{ peft_type: 'IA3' }, 'peft_type: expected "LORA"'],
  [{ task_type: 'SEQ_CLS' }, 'task_type: expected "CAUSAL_LM"'],
  [{ bias: 'all' }, 'bias: expected "none"'],
  [
    { fan_in_fan_out: true },
    'fan_in_fan_out: expected nothing (Gemma-2 has no layers with transposed weights), found true',
  ],
  [{ modules_to_save: ['embed_tokens'] }, 'modules_to_save: expected nothing'],
  [{ lora_bias: true }, 'lora_bias: expected nothing'],
  [{ layer_replication: [[0, 4]] }, 'layer_replication: expected nothing'],
  [{ trainable_token_indices: [5] }, 'trainable_token_indices: expected nothing'],
  [{ target_parameters: ['mlp.experts'] }, 'target_parameters: expected nothing'],
  [{ megatron_config: { a: 1 } }, 'megatron_config: expected nothing'],
  [
    { init_lora_weights: 'pissa_niter_4' },
    'found "pissa_niter_4", with which PEFT changes the weights of the base model',
  ],
  [{ init_lora_weights: 'loftq' }, 'path_initial_model_for_weight_conversion'],
  [{ r: 0 }, 'r: expected a whole number from 1'],
  [{ r: 1.5 }, 'r: expected a whole number from 1'],
  [{ lora_alpha: '16' }, 'lora_alpha: expected a finite number, found "16"'],
  [{ lora_dropout: 1 }, 'lora_dropout: expected a number from 0 to below 1, found 1'],
  [{ target_modules: [1] }, 'target_modules: expected a name, a list of names, or null, found [1]'],
  [
    { target_modules: '(q' },
    'target_modules: expected a regular expression that can be used, found a ( that is not closed',
  ],
  [{ rank_pattern: { q_proj: 0 } }, 'rank_pattern: expected an object'],
  [
    { rank_pattern: { 'q_(?<=x)': 2 } },
    'rank_pattern: expected a regular expression that can be used, found lookbehind',
  ],
  [{ layers_to_transform: [-1] }, 'layers_to_transform: expected the index of a layer'],
  [
    { target_modules: 'all-linear', layers_to_transform: 1 },
    'layers_to_transform: expected nothing with a target_modules that is one text',
  ],
  [{ use_dora: 'yes' }, 'use_dora: expected true or false'],
  [
    { alpha_pattern: Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`x${i}(a{60}){50}`, 1])) },
    'instructions together',
  ],
])('refuses %j', (keys, message) => {
  expect(() => parseLoraConfig({ peft_type: 'LORA', ...keys }, where)).toThrow(message);
  expect(() => parseLoraConfig({ peft_type: 'LORA', ...keys }, where)).toThrow(/^adapter_config\.json: /);
});

test.each([
  [['q_prj'], 'which chooses none of its 28'],
  ['q_proj', 'which chooses none of its 28'],
  [['q_proj', 'embed_tokens'], 'which chooses model.embed_tokens'],
  ['.*', 'which chooses model.embed_tokens'],
])('refuses targets that are not linear layers: %j', (targetModules, message) => {
  expect(() => adaptedModules({ ...loraDefaults, targetModules }, tiny, at)).toThrow(message);
});

test.each([null, [], 'adapter', 3])('refuses %j', (json) => {
  expect(() => parseLoraConfig(json, where)).toThrow('adapter_config.json: expected an object');
});
