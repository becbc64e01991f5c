import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { fc, test as property } from '@fast-check/vitest';
import { expect, test } from 'vitest';
import { describeKeys, parseRunConfig, readRunConfig, runConfigYaml } from '../src/run-config';

const least = 'model_name_or_path: m\ntrain_file: t.jsonl\noutput_dir: out\n';
const parse = (yaml: string, set: string[] = []) => parseRunConfig(yaml, { file: '/runs/run.yaml', set });
const problems = (yaml: string, set: string[] = []) => {
  try {
    parse(yaml, set);
  } catch (error) {
    return (error as Error).message.split('\n');
  }
  throw new Error('no problem found');
};

test('three keys are enough; the others have the documented defaults', () => {
  expect(parse(least)).toEqual({
    model_name_or_path: '/runs/m',
    train_file: '/runs/t.jsonl',
    output_dir: '/runs/out',
    beta: 0.1,
    loss_type: ['sigmoid'],
    label_smoothing: 0,
    f_divergence_type: 'reverse_kl',
    f_alpha_divergence_coef: 0.5,
    reference_free: false,
    discopop_tau: 0.05,
    simpo_gamma: 0.5,
    cpo_alpha: 1,
    desirable_weight: 1,
    undesirable_weight: 1,
    bco_delta: 0,
    use_weighting: true,
    alignment: 'sampled',
    clamp: true,
    temperature: 1,
    attached: false,
    precompute_ref_log_probs: true,
    completion: 'paper',
    truncation: 'paper',
    max_length: 2048,
    max_prompt_length: 1800,
    on_bad_row: 'error',
    learning_rate: 1e-6,
    lr_scheduler_type: 'linear',
    warmup_ratio: 0,
    warmup_steps: 0,
    num_train_epochs: 1,
    max_steps: -1,
    per_device_train_batch_size: 1,
    gradient_accumulation_steps: 1,
    per_device_eval_batch_size: 1,
    activation_checkpointing: 'auto',
    max_grad_norm: 1,
    weight_decay: 0,
    adam_beta1: 0.9,
    adam_beta2: 0.999,
    adam_epsilon: 1e-8,
    seed: 42,
    shuffle: true,
    logging_steps: 10,
    save_steps: 500,
  });
});

test('an unknown key is refused by its line, naming the nearest key', () => {
  expect(problems(`${least}# a comment\nlearning_rte: 1e-6\n`)).toEqual([
    '/runs/run.yaml:5: learning_rte: there is no such key. The nearest is "learning_rate"; `wpo train --help` lists all.',
  ]);
});

test.each([
  ['lr: 1', 'lr_scheduler_type'],
  ['per_device_batch_size: 1', 'per_device_eval_batch_size'],
  ['warmup_step: 1', 'warmup_steps'],
  ['max_seq_length: 1', 'max_length'],
  ['bf16: true', 'beta'],
])('a key of other trainers, %j, is refused', (line, near) => {
  expect(problems(least + line)[0]).toContain(`The nearest is "${near}"`);
});

test.each([
  ['beta: fast', 'beta: found the text "fast", wanted a number above 0.'],
  ['beta: 0', 'beta: found 0, wanted a number above 0.'],
  ['learning_rate: "1e-6"', 'learning_rate: found the text "1e-6", wanted a number above 0.'],
  ['max_length: 20.5', 'max_length: found 20.5, wanted a whole number, 2 or more.'],
  ['clamp: yes', 'clamp: found the text "yes", wanted true or false.'],
  ['warmup_ratio: 1.5', 'warmup_ratio: found 1.5, wanted a number from 0 to 1.'],
  ['alignment: greed', 'alignment: found the text "greed", wanted sampled, greedy, none.'],
  ['eval_split: 1.5', 'eval_split: found 1.5, wanted a share between 0 and 1, or a whole number of pairs.'],
  ['eval_file: [a]', 'eval_file: found a list, wanted the path of a file.'],
  ['eval_file: {a: b}', 'eval_file: found a group of keys, wanted the path of a file.'],
  ['learning_rate: .inf', 'learning_rate: found Infinity, wanted a number above 0.'],
  ['adam_beta2: 1', 'adam_beta2: found 1, wanted a number from 0 to below 1.'],
])('%j is refused: line, key, what was found, what was wanted', (line, message) => {
  expect(problems(least + line)).toEqual([`/runs/run.yaml:4: ${message}`]);
});

test('all problems are told at once, with a missing key by what it is for', () => {
  expect(problems('train_file: t\noutput_dir: o\nbeta: -1\nseeds: 3\n')).toEqual([
    '/runs/run.yaml:4: seeds: there is no such key. The nearest is "seed"; `wpo train --help` lists all.',
    '/runs/run.yaml: model_name_or_path is missing; wanted the Gemma-2 model to train: a folder as Hugging Face lays it out, or org/name on the hub.',
    '/runs/run.yaml:3: beta: found -1, wanted a number above 0.',
  ]);
});

test.each([
  ['max_length: 100\nmax_prompt_length: 100', /:5: max_prompt_length: found 100 with max_length 100, wanted less/],
  ['eval_file: e\neval_split: 0.1', /:5: eval_split: found beside eval_file/],
  ['eval_steps: 5', /:4: eval_steps: found without pairs to evaluate/],
])('keys that contradict each other are refused: %j', (lines, message) => {
  expect(problems(least + lines)[0]).toMatch(message);
});

test('a prompt limit above the length limit is fine where it is not read', () => {
  expect(parse(`${least}max_length: 100\ntruncation: keep_start\n`).max_length).toBe(100);
});

test('a key without a value, and null, leave the default', () => {
  expect(parse(`${least}beta:\neval_file: null\n`)).toEqual(parse(least));
});

test('--set wins over the file, and reads its value as YAML', () => {
  const config = parse(`${least}beta: 0.5\neval_split: 3\n`, [
    'beta=1e-2',
    'shuffle=false',
    'eval_split=',
    'alignment=none',
  ]);
  expect(config).toMatchObject({ beta: 0.01, shuffle: false, alignment: 'none' });
  expect(config.eval_split).toBeUndefined();
});

test('problems of --set are told as such', () => {
  expect(problems(least, ['beta=x'])).toEqual(['--set beta: found the text "x", wanted a number above 0.']);
  expect(problems(least, ['beat=1'])[0]).toMatch(/^--set beat: there is no such key. The nearest is "beta"/);
  expect(problems(least, ['beta'])).toEqual(['--set beta: wanted key=value, e.g. --set learning_rate=1e-6.']);
});

test('paths in the file start from its folder, those of --set from the working directory', () => {
  const config = parseRunConfig('model_name_or_path: ../m\ntrain_file: /data/t\noutput_dir: out\n', {
    file: 'some/run.yaml',
    set: ['output_dir=here'],
  });
  expect(config.model_name_or_path).toBe(resolve('m'));
  expect(config.train_file).toBe('/data/t');
  expect(config.output_dir).toBe(resolve('here'));
});

test('broken YAML is refused by its line', () => {
  expect(problems('beta: 1\nbeta: 2\n')[0]).toMatch(/^\/runs\/run.yaml:2: is not YAML: /);
  expect(problems('a: [1,\nb: 2')[0]).toMatch(/^\/runs\/run.yaml:\d: is not YAML: /);
  expect(problems('- beta\n')).toEqual(['/runs/run.yaml: found no keys, wanted lines of the form "key: value".']);
});

test('a file that is not there is told with what was wanted', async () => {
  await expect(readRunConfig('/nowhere/run.yaml')).rejects.toThrow(
    "/nowhere/run.yaml: found no such file, wanted a run's YAML file.",
  );
});

property.prop([
  fc.record({
    beta: fc.double({ min: 1e-300, max: 1e300, noNaN: true }),
    learning_rate: fc.double({ min: 1e-12, max: 1, noNaN: true }),
    seed: fc.nat(),
    loss_type: fc.subarray(['sigmoid', 'sft', 'hinge'], { minLength: 1 }),
    clamp: fc.boolean(),
    output_dir: fc.string({ minLength: 1, unit: 'grapheme' }).map((name) => `/${name.replaceAll('/', '')}`),
  }),
])('a config written as YAML reads back equal', (keys) => {
  const config = { ...parse(least), ...keys, output_dir: resolve(keys.output_dir) };
  expect(parse(runConfigYaml(config))).toEqual(config);
});

test('the README explains every key, with its default', () => {
  const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8');
  const rows = [...readme.matchAll(/^\| `(\w+)` +\| +(.*?) *\| (.*?) +\|$/gm)].map(([, key, value, meaning]) => ({
    key,
    default: value!.replaceAll('`', ''),
    meaning,
  }));
  expect(rows).toEqual(describeKeys());
});
