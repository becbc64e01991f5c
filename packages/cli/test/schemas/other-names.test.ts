import { readFileSync } from 'node:fs';
import { afterEach, expect, test, vi } from 'vitest';
import { answerForKey, answerForValue, unknownKey } from '../../src/schemas/other-names';
import { yamlKey } from '../../src/schemas/schema';
import { trainSchema } from '../../src/schemas/train';

afterEach(() => vi.unstubAllEnvs());

const own = Object.keys(trainSchema.fields).map(yamlKey);

/** The options of other trainers: names of fields of their configurations, in current and earlier releases. */
const trainers = JSON.parse(
  readFileSync(new URL('../fixtures/other-trainers.json', import.meta.url), 'utf8'),
) as Readonly<Record<string, readonly string[]>>;

test.each(Object.entries(trainers))('every option of %s is one of ours or has an answer', (_, names) => {
  expect(names.length).toBeGreaterThan(20);
  expect(names.filter((name) => !own.includes(name) && answerForKey(name, own) === undefined)).toEqual([]);
});

test.each(Object.entries(trainers))('no option of %s is answered by similarity only', (_, names) => {
  const answers = names.filter((name) => !own.includes(name)).map((name) => [name, answerForKey(name, own)] as const);
  expect(answers.filter(([, answer]) => answer !== undefined && 'similar' in answer)).toEqual([]);
});

const answer = (name: string) =>
  unknownKey(name, own, { kind: 'key', command: 'train', nameOf: (key) => key }).split(': unknown key. ')[1];

test.each([
  ['lr', 'It is called learning_rate here.'],
  ['LR', 'It is called learning_rate here.'],
  ['batch_size', 'It is called per_device_train_batch_size here.'],
  ['max_seq_length', 'It is called max_length here.'],
  ['sequence_len', 'It is called max_length here.'],
  ['cutoff_len', 'It is called max_length here.'],
  ['base_model', 'It is called model_name_or_path here.'],
  ['val_set_size', 'It is called eval_split here.'],
  ['pref_beta', 'It is called beta here.'],
  ['gradient_checkpointing', 'It is called activation_checkpointing here.'],
  [
    'wandb_project',
    'Metrics are written to metrics.jsonl in output_dir, with `report_to: tensorboard` also for TensorBoard, and to no other service. Remove it.',
  ],
  ['lora_rank', 'It is called lora_r here.'],
  ['lora_target', 'It is called lora_target_modules here.'],
  [
    'lora_modules_to_save',
    'Modules are not trained whole beside an adapter. Gemma-2 shares its embedding with the output projection. Remove it.',
  ],
  [
    'load_in_4bit',
    'Nothing is quantized. `dtype: bfloat16` holds the model under an adapter in 2 bytes per parameter. Remove it.',
  ],
  ['bf16', 'Products of bfloat16, as with `bf16: true` elsewhere, are `precision: bfloat16` here. Remove it.'],
  ['optimizer', 'It is called optim here.'],
  [
    'optim_args',
    'optim selects among adamw_torch, adamw_bnb_8bit, lion_32bit, adafactor and sgd, which have no further options but adam_*. Remove it.',
  ],
  ['max_new_tokens', 'This is an option of `wpo generate` and `wpo sample`, not of training.'],
  ['learningRate', 'Did you mean "learning_rate"? `wpo train --help` lists all keys.'],
  ['learning-rate', 'Did you mean "learning_rate"? `wpo train --help` lists all keys.'],
  ['learning_rte', 'Did you mean "learning_rate"? `wpo train --help` lists all keys.'],
  ['xyzzy', '`wpo train --help` lists all keys.'],
  ['constructor', '`wpo train --help` lists all keys.'],
  ['__proto__', '`wpo train --help` lists all keys.'],
  ['', '`wpo train --help` lists all keys.'],
])('the answer to %j is %j', (name, expected) => {
  expect(answer(name)).toBe(expected);
});

test.each([
  ['loss_type', 'kto_pair', 'kto'],
  ['loss_type', 'IPO_pair', 'ipo'],
  ['dtype', 'bf16', 'bfloat16'],
  ['dtype', 'torch.float32', 'float32'],
  ['save_dtype', 'bf16', 'bfloat16'],
  ['precision', 'bf16-mixed', 'bfloat16'],
  ['lr_scheduler_type', 'cosine_with_restarts', 'cosine'],
  ['f_divergence_type', 'js', 'js_divergence'],
  ['activation_checkpointing', 'true', 'always'],
  ['optim', 'adamw_torch_fused', 'adamw_torch'],
  ['optim', 'adamw_8bit', 'adamw_bnb_8bit'],
  ['optim', 'paged_lion_8bit', 'lion_32bit'],
  ['optim', 'lomo', undefined],
  ['dtype', 'nonsense', undefined],
  ['dtype', 'constructor', undefined],
  ['constructor', 'constructor', undefined],
])('for %s: %s the suggestion is %s', (key, value, expected) => {
  const field = Object.entries(trainSchema.fields).find(([name]) => yamlKey(name) === key)?.[1];
  expect(answerForValue(key, value, Object.keys(field?.choices ?? {}))).toBe(expected);
});

test('answers name the other command as the user starts it', () => {
  const before = process.argv[1]!;
  process.argv[1] = '/app/node_modules/.bin/wpo';
  vi.stubEnv('npm_config_user_agent', 'pnpm/10.0.0 node/v22');
  try {
    expect(answer('max_new_tokens')).toBe(
      'This is an option of `pnpm exec wpo generate` and `pnpm exec wpo sample`, not of training.',
    );
    expect(answer('generate_during_eval')).toContain('`pnpm exec wpo generate` and `pnpm exec wpo sample`');
    expect(answer('pair')).toContain('`pnpm exec wpo run`');
  } finally {
    process.argv[1] = before;
  }
});
