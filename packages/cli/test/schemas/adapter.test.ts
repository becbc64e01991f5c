import { expect, test } from 'vitest';
import { loraSettings, trainsAdapter } from '../../src/schemas/adapter';
import { trainSchema } from '../../src/schemas/train';
import { parseConfig } from '../../src/schemas/yaml-config';

const least = 'model_name_or_path: m\ntrain_file: t.jsonl\noutput_dir: out\n';
const parse = (yaml: string) => parseConfig(trainSchema, least + yaml, { file: '/runs/run.yaml' });

test('without use_peft, the model is trained', () => {
  expect(trainsAdapter(parse(''))).toBe(false);
  expect(trainsAdapter(parse('use_peft: true\n'))).toBe(true);
  expect(parse('adapter_name_or_path: a\n').adapterNameOrPath).toBe('/runs/a');
  expect(trainsAdapter(parse('adapter_name_or_path: a\n'))).toBe(true);
});

test('the defaults are TRL’s and PEFT’s', () => {
  expect(loraSettings(parse('use_peft: true\n'))).toEqual({
    r: 16,
    loraAlpha: 32,
    loraDropout: 0,
    targetModules: ['q_proj', 'v_proj'],
    useRslora: false,
    useDora: false,
  });
});

test.each([
  ['all-linear', 'all-linear'],
  ['q_proj', ['q_proj']],
  ['self_attn.q_proj', ['self_attn.q_proj']],
  ['[q_proj, up_proj]', ['q_proj', 'up_proj']],
  ['".*\\\\.(q|v)_proj"', '.*\\.(q|v)_proj'],
])('lora_target_modules: %s', (written, expected) => {
  const config = parse(`use_peft: true\nlora_target_modules: ${written}\n`);
  expect(loraSettings(config).targetModules).toEqual(expected);
});

test.each([
  ['lora_r: 8', 'lora_r: expected use_peft: true with it, found 8. Without it, all weights are trained.'],
  ['use_dora: true', 'use_dora: expected use_peft: true with it, found true.'],
  [
    'adapter_name_or_path: a\nuse_peft: true\nlora_r: 8',
    'lora_r: expected no value with adapter_name_or_path, found 8. The adapter has its own settings, which stay.',
  ],
  [
    'use_peft: true\nlora_target_modules: [q_proj, all-linear]',
    'lora_target_modules: expected names of linear layers in a list, found all-linear.',
  ],
  ['use_peft: true\nlora_r: 0', 'lora_r: expected a whole number from 1 to 1048576, found 0.'],
  ['use_peft: true\nlora_dropout: 1', 'lora_dropout: expected a number from 0 to below 1, found 1.'],
  ['use_peft: true\nlora_modules_to_save: [embed_tokens]', 'Modules are not trained whole beside an adapter.'],
])('refuses %s', (keys, message) => {
  expect(() => parse(`${keys}\n`)).toThrow(message);
});

test('the defaults written out, as in the config.yaml of a run, change nothing', () => {
  const written =
    'use_peft: false\nlora_r: 16\nlora_alpha: 32\nlora_target_modules: [q_proj, v_proj]\nuse_dora: false\n';
  expect(parse(written)).toEqual(parse(''));
});
