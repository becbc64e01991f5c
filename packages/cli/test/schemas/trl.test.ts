import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { fc, test as property } from '@fast-check/vitest';
import { expect, test } from 'vitest';
import { UserError } from '../../src/errors';
import { yamlKey } from '../../src/schemas/schema';
import { readTrainConfig, trainSchema } from '../../src/schemas/train';
import { becomes, TRL_KEYS } from '../../src/schemas/trl-keys';
import type { TrlOptions } from '../../src/schemas/trl-page';
import { modelFolder, pairsFile, readMetrics, temporaryFolder, timeless } from '../golden';
import { wpo } from '../wpo';

const root = fileURLToPath(new URL('../../../..', import.meta.url));
/** From scripts/make-trl-options.py. */
const options = JSON.parse(
  readFileSync(`${root}/packages/cli/test/fixtures/trl-1.16-options.json`, 'utf8'),
) as TrlOptions;
const folder = temporaryFolder();

/** Reads a YAML file, with what is printed before the run. */
async function read(yaml: string, set: readonly string[] = []) {
  const file = join(folder, 'config.yaml');
  writeFileSync(file, yaml);
  const notes: string[] = [];
  const config = await readTrainConfig(file, set, (line) => void notes.push(line.replaceAll(file, 'FILE')));
  return { config, notes };
}

const problems = (yaml: string, set: readonly string[] = []): Promise<string[]> =>
  read(yaml, set).then(
    () => [],
    (error: Error) =>
      (error instanceof UserError ? error.message : String(error.stack))
        .replaceAll(join(folder, 'config.yaml'), 'FILE')
        .split('\n'),
  );

/** The keys and values of the WPO authors' training_configs/mistral-base.yaml. */
const AUTHORS = `model_name_or_path: HuggingFaceH4/mistral-7b-sft-beta
torch_dtype: null
dataset_mixer:
  HuggingFaceH4/ultrafeedback_binarized: 1.0
dataset_splits:
- train_prefs
- test_prefs
preprocessing_num_workers: 12
bf16: true
beta: 0.01
do_eval: true
evaluation_strategy: steps
eval_steps: 10000
gradient_accumulation_steps: 8
gradient_checkpointing: true
gradient_checkpointing_kwargs:
  use_reentrant: False
hub_model_id: zephyr-7b-wpo
learning_rate: 5.0e-7
log_level: info
logging_steps: 10
lr_scheduler_type: cosine
max_length: 1024
max_prompt_length: 512
num_train_epochs: 1
optim: adamw_torch
output_dir: outputs/zephyr-7b-wpo
per_device_train_batch_size: 2
per_device_eval_batch_size: 8
push_to_hub: false
save_strategy: "steps"
save_steps: 10000
save_total_limit: 1
seed: 42
warmup_ratio: 0.1
report_to: "none"
`;

test('the WPO authors’ recipe is read unchanged', async () => {
  const { config, notes } = await read(AUTHORS);
  expect(config).toMatchObject({
    modelNameOrPath: 'hf://HuggingFaceH4/mistral-7b-sft-beta',
    trainFile: 'hf://datasets/HuggingFaceH4/ultrafeedback_binarized',
    datasetTrainSplit: 'train_prefs',
    evalFile: 'hf://datasets/HuggingFaceH4/ultrafeedback_binarized',
    datasetTestSplit: 'test_prefs',
    dtype: 'auto',
    precision: 'bfloat16',
    beta: 0.01,
    useWeighting: true,
    completion: 'paper',
    truncation: 'paper',
    maxLength: 1024,
    maxPromptLength: 512,
    learningRate: 5e-7,
    lrSchedulerType: 'cosine',
    warmupRatio: 0.1,
    numTrainEpochs: 1,
    perDeviceTrainBatchSize: 2,
    gradientAccumulationSteps: 8,
    activationCheckpointing: 'always',
    evalSteps: 10000,
    saveSteps: 10000,
    saveTotalLimit: 1,
    outputDir: join(folder, 'outputs/zephyr-7b-wpo'),
  });
  expect(notes).toMatchInlineSnapshot(`
    [
      "FILE is read as a file of alignment-handbook. docs/from-trl.md has every key.",
      "Read as:",
      "  bf16: true → precision: bfloat16",
      "  dataset_mixer: {"HuggingFaceH4/ultrafeedback_binarized":1}, dataset_splits: ["train_prefs","test_prefs"] → train_file: HuggingFaceH4/ultrafeedback_binarized, dataset_train_split: train_prefs, eval_file: HuggingFaceH4/ultrafeedback_binarized, dataset_test_split: test_prefs",
      "  gradient_checkpointing: true → activation_checkpointing: always",
      "Ignored:",
      "  do_eval, evaluation_strategy: Held-out pairs are evaluated before the first step, every eval_steps steps, and after the last.",
      "  save_strategy: Checkpoints are saved every save_steps steps.",
      "  preprocessing_num_workers: Data is read and encoded by several threads, without settings.",
      "  gradient_checkpointing_kwargs: Blocks are recomputed as activation_checkpointing says, which has no further options.",
      "  log_level: Progress is a line on a terminal, and plain lines elsewhere.",
      "A step takes 16 pairs of each process. If the file is for N devices, start N processes with mpirun, or set num_processes to N.",
      "Pairs are weighted, as in the WPO authors’ script. For plain DPO: --set use_weighting=false.",
    ]
  `);
});

const TRL = `model_name_or_path: google/gemma-2-2b-it
dataset_name: trl-lib/ultrafeedback_binarized
output_dir: out
`;

test('a TRL file has TRL’s defaults for the keys that it leaves out', async () => {
  const { config, notes } = await read(TRL);
  expect(config).toMatchObject({
    trainFile: 'hf://datasets/trl-lib/ultrafeedback_binarized',
    datasetTrainSplit: 'train',
    numTrainEpochs: 3,
    perDeviceTrainBatchSize: 8,
    maxLength: 1024,
    precision: 'bfloat16',
    completion: 'trl',
    truncation: 'keep_start',
    useWeighting: false,
    lrSchedulerType: 'linear',
    learningRate: 1e-6,
  });
  expect(config.evalFile).toBeUndefined();
  expect(notes).toContain('  use_weighting: false');
  const defaults: Readonly<Record<string, unknown>> = { ...options.ModelConfig, ...options.DPOConfig };
  const compared = {
    num_train_epochs: 3,
    per_device_train_batch_size: 8,
    max_length: 1024,
    truncation_mode: 'keep_start',
  };
  expect(defaults).toMatchObject({ ...compared, use_weighting: false, bf16: null });
});

test('WPO by use_weighting, an adapter, evaluation and mixtures of a TRL file', async () => {
  const adapter = 'use_peft: true\nlora_r: 32\nlora_dropout: 0.05\nlora_target_modules: all-linear\n';
  const { config } = await read(
    `${TRL}${adapter}use_weighting: true\neval_strategy: steps\noptim: adamw_torch_fused\nwarmup_steps: 0.1\nbf16: false\ndtype: bfloat16\n`,
  );
  expect(config).toMatchObject({
    useWeighting: true,
    usePeft: true,
    loraR: 32,
    loraDropout: 0,
    evalFile: 'hf://datasets/trl-lib/ultrafeedback_binarized',
    datasetTestSplit: 'test',
    evalSteps: 10,
    optim: 'adamw_torch',
    warmupRatio: 0.1,
    precision: 'float32',
    dtype: 'bfloat16',
  });
  const mixture = await read(
    'model_name_or_path: m\noutput_dir: o\ndatasets:\n- path: a/b\n  fraction: 0.25\n- path: c/d\n  split: train_prefs\n  fraction: 0.75\ntest_split_size: 0.1\n',
  );
  expect(mixture.config).toMatchObject({
    trainFile: [
      { path: 'hf://datasets/a/b', split: 'train', share: 0.25 },
      { path: 'hf://datasets/c/d', split: 'train_prefs', share: 0.75 },
    ],
    evalSplit: 0.1,
  });
});

test('a mixture of alignment-handbook, no evaluation, no checkpoints, a revision', async () => {
  const { config } = await read(`model_name_or_path: org/m
model_revision: v2
output_dir: o
dataset_mixture:
  datasets:
  - {id: org/a, config: default, split: train_prefs, columns: [chosen, rejected], weight: 1.0}
  - {id: org/a, split: test_prefs, weight: 1.0}
  test_split_size: 2000
  seed: 0
eval_strategy: no
save_strategy: "no"
disable_dropout: false
lora_dropout: 0.1
use_peft: true
`);
  expect(config).toMatchObject({
    modelNameOrPath: 'hf://org/m@v2',
    trainFile: [
      { path: 'hf://datasets/org/a', split: 'train_prefs' },
      { path: 'hf://datasets/org/a', split: 'test_prefs' },
    ],
    evalSplit: 2000,
    saveSteps: 0,
    loraDropout: 0.1,
  });
});

test('--set overrides what a recipe says, with our keys and with theirs', async () => {
  const { config, notes } = await read(AUTHORS, [
    'precision=float32',
    'train_file=/pairs.jsonl',
    'eval_file=/held.jsonl',
  ]);
  expect(config).toMatchObject({
    precision: 'float32',
    trainFile: '/pairs.jsonl',
    evalFile: '/held.jsonl',
    beta: 0.01,
  });
  expect(notes).toContain('  bf16: precision is set, and counts.');
  expect((await read(AUTHORS, ['bf16=false'])).config.precision).toBe('float32');
});

test.each([
  [
    'load_in_4bit: true',
    'load_in_4bit: unknown key. Nothing is quantized. `dtype: bfloat16` holds the model under an adapter in 2 bytes per parameter. Remove it.',
  ],
  ['neftune_noise_alpha: 5', 'neftune_noise_alpha: unknown key. NEFTune is not implemented. Remove it.'],
  ['sync_ref_model: true', 'sync_ref_model: unknown key. The reference does not change during training. Remove it.'],
  [
    'eval_steps: 0.1\neval_strategy: steps',
    'eval_steps: expected a whole number of steps, found 0.1. A share of all steps is not read: give their number.',
  ],
  [
    'max_length: null',
    'max_length: expected a number of tokens, found null. Pairs without a limit could take any memory. Give the longest that you have.',
  ],
  [
    'truncation_mode: keep_end',
    'truncation_mode: expected keep_start, or keep_end beside max_prompt_length, found the text "keep_end". Give max_prompt_length, at which the start of a prompt is cut, or truncation_mode: keep_start.',
  ],
  [
    'save_strategy: best',
    'save_strategy: expected no, steps or epoch, found the text "best". For the best checkpoint: load_best_model_at_end: true.',
  ],
  ['learning_rte: 1', 'learning_rte: unknown key. Did you mean "learning_rate"? `wpo train --help` lists all keys.'],
  ['lr: 1', 'lr: unknown key. It is called learning_rate here.'],
  [
    'lr_scheduler_type: cosine_with_min_lr',
    'lr_scheduler_type: expected one of cosine, linear, constant, constant_with_warmup, found the text "cosine_with_min_lr". Did you mean "cosine"?',
  ],
])('a TRL file with %s is refused', async (lines, expected) => {
  expect(await problems(`${TRL}${lines}\n`)).toEqual([`FILE:4: ${expected}`]);
});

test('a recipe of alignment-handbook without lengths has those that TRL had then', async () => {
  const { config } = await read('model_name_or_path: m\noutput_dir: o\ndataset_mixer:\n  a/b: 1.0\n');
  expect(config).toMatchObject({ maxLength: 512, maxPromptLength: 128, truncation: 'paper', useWeighting: true });
  expect(config).toMatchObject({ numTrainEpochs: 3, perDeviceTrainBatchSize: 8 });
});

test('parts of data sets, and bfloat16 weights that would be rounded, are refused', async () => {
  const mixed = await problems('model_name_or_path: m\noutput_dir: o\ndataset_mixer:\n  a/b: 0.5\n');
  expect(mixed[0]).toBe(
    'FILE:3: dataset_mixer: expected data sets, each with the part 1.0, found {"a/b":0.5}. Part of a data set is not read: list the ' +
      'sources in train_file, with their shares of an epoch.',
  );
  const [rounded] = await problems(`${TRL}torch_dtype: bfloat16\n`);
  expect(rounded).toMatch(/^FILE:4: dtype: expected auto or float32, or master_weights with it, found bfloat16\./);
});

test('a file of our own keys is read without notes', async () => {
  expect((await read('model_name_or_path: m\ntrain_file: p.jsonl\noutput_dir: o\n')).notes).toEqual([]);
  const { notes } = await read('model_name_or_path: m\ntrain_file: p.jsonl\noutput_dir: o\nreport_to: wandb\n');
  expect(notes).toEqual([
    'FILE: some keys are those of other programs.',
    'Ignored:',
    '  report_to: Metrics are written to metrics.jsonl in output_dir, with `report_to: tensorboard` also for TensorBoard, and to no ' +
      'other service.',
  ]);
  for (const [given, expected] of [
    ['none', 'none'],
    ['tensorboard', 'tensorboard'],
    ['all', 'tensorboard'],
    ['[wandb, tensorboard]', 'tensorboard'],
    ['[wandb]', 'none'],
  ]) {
    const { config } = await read(`model_name_or_path: m\ntrain_file: p.jsonl\noutput_dir: o\nreport_to: ${given}\n`);
    expect(config.reportTo).toBe(expected);
  }
});

test('every option of TRL 1.16 is read, ignored or refused; no key is said twice', () => {
  const own = Object.keys(trainSchema.fields).map(yamlKey);
  const all = Object.values(options).flatMap(Object.keys);
  expect(all.length).toBe(167);
  expect(all.filter((key) => !own.includes(key) && becomes(key) === undefined)).toEqual([]);
  expect(new Set(TRL_KEYS).size).toBe(TRL_KEYS.length);
});

property.prop([fc.dictionary(fc.constantFrom(...TRL_KEYS, 'datasets', 'optim'), fc.jsonValue({ maxDepth: 3 }))])(
  'any values of TRL’s keys are read or refused',
  async (keys) => {
    const yaml = JSON.stringify({ model_name_or_path: 'm', train_file: 'p', output_dir: 'o', ...keys });
    expect((await problems(yaml)).join('\n')).not.toMatch(/TypeError|undefined/);
  },
);

test('a file with all of TRL’s options at their defaults is read', async () => {
  const { hub_token: _, ...keys } = Object.assign({}, ...Object.values(options), {
    model_name_or_path: 'm',
    dataset_name: 'a/b',
    datasets: null,
    output_dir: 'o',
  }) as Record<string, unknown>;
  const { config } = await read(JSON.stringify(keys));
  expect(config).toMatchObject({
    numTrainEpochs: 3,
    perDeviceTrainBatchSize: 8,
    optim: 'adamw_torch',
    useWeighting: false,
  });
});

test('a TRL file trains what the same run does in our keys, after it said how it is read', async () => {
  const common = `model_name_or_path: ${modelFolder}\nmax_steps: 2\nper_device_train_batch_size: 2\nlogging_steps: 1\nlearning_rate: 1e-3\n`;
  const trl = `${common}dataset_name: ${pairsFile}\nuse_weighting: true\nmax_length: 160\noutput_dir: trl\nbf16: false\n`;
  const own = `${common}train_file: ${pairsFile}\ncompletion: trl\ntruncation: keep_start\nmax_length: 160\noutput_dir: own\n`;
  writeFileSync(join(folder, 'trl.yaml'), trl);
  writeFileSync(join(folder, 'own.yaml'), own);
  const { status, err } = await wpo('train', join(folder, 'trl.yaml'));
  expect(status, err).toBe(0);
  expect(err).toContain('trl.yaml is read as a file of TRL 1.16');
  expect(err.indexOf('bf16: false → precision: float32')).toBeGreaterThan(0);
  expect((await wpo('train', join(folder, 'own.yaml'))).status).toBe(0);
  const [left, right] = ['trl', 'own'].map((run) => timeless(readMetrics(join(folder, run))));
  expect(left!.length).toBeGreaterThan(1);
  expect(left).toEqual(right);
});
