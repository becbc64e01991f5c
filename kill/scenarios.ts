import { cpSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** A command that is killed and resumed, and what its result must be. */
export interface Scenario {
  readonly name: string;
  /** Its share of the kills. */
  readonly share: number;
  /** Writes the inputs to `folder`; the command may only write to `root`, an empty folder. */
  prepare(folder: string, root: string): void;
  /** The arguments of `wpo`, the same for a resume except for `resume`. */
  args(folder: string, root: string): readonly string[];
  readonly resume?: readonly string[];
  /** A folder in `root` that the command writes: whole or absent at any time. */
  readonly whole?: string;
  /** The results by name, without times and in an order that does not depend on the time. */
  results(root: string): ReadonlyMap<string, string | Buffer>;
}

export interface Servers {
  readonly judge: string;
  /** The folder of a finished training run. */
  readonly trained: string;
}

const fixtures = fileURLToPath(new URL('../packages/gemma/test/fixtures', import.meta.url));
const model = join(fixtures, 'golden', 'tiny');
const pairs = join(fixtures, 'golden', 'pairs.jsonl');
const adapter = join(fixtures, 'peft', 'all-linear');

const trainKeys = {
  model_name_or_path: model,
  train_file: pairs,
  eval_split: 4,
  learning_rate: 0.001,
  gradient_accumulation_steps: 4,
  max_length: 160,
  max_prompt_length: 96,
  logging_steps: 1,
  eval_steps: 2,
  save_steps: 1,
  max_steps: 3,
};
const yaml = (keys: object, indent = '') =>
  Object.entries(keys)
    .map(([key, value]) => `${indent}${key}: ${value}\n`)
    .join('');

const prompts = ['Why?', 'How?', 'Name a river.', 'Who are you?', 'What is 2 + 2?'];
const promptFile = prompts.map((prompt) => `${JSON.stringify({ prompt })}\n`).join('');
const sampling = { temperature: 0.8, max_new_tokens: 6, seeds: [13, 21] };
const answers = prompts.flatMap((prompt, i) =>
  [1, 2].map((seed) => ({ prompt_id: `p${i}`, prompt, completion: `Answer ${seed} to ${i}.`, source: 'm', seed })),
);

type Result = readonly [name: string, content: string | Buffer];

const file = (root: string, name: string): Result => [name, readFileSync(join(root, name))];
const files = (root: string, folder: string): Result[] =>
  readdirSync(join(root, folder), { withFileTypes: true })
    .filter((entry) => entry.isFile()) // a killed download leaves its lock, a folder
    .map(({ name }) => file(root, join(folder, name)));
const sortedLines = (root: string, name: string): Result => [
  name,
  readFileSync(join(root, name), 'utf8').split('\n').sort().join('\n'),
];
const metrics = (root: string, name: string): Result => {
  const text = readFileSync(join(root, name), 'utf8');
  return [name, text.replace(/"(tokens_per_second|step_seconds|memory_bytes)":[^,}]+/g, '')] as const;
};
const trained = (root: string, run: string, weights = 'model.safetensors'): Result[] => [
  metrics(root, join(run, 'metrics.jsonl')),
  file(root, join(run, 'checkpoint-3', weights)),
  file(root, join(run, 'checkpoint-3', 'optimizer.safetensors')),
  ...files(root, join(run, 'model')),
];

export const scenarios = ({ judge, trained: finished }: Servers): readonly Scenario[] => [
  {
    name: 'train',
    share: 0.15,
    prepare: (folder, root) =>
      writeFileSync(join(folder, 'run.yaml'), yaml({ ...trainKeys, output_dir: join(root, 'run') })),
    args: (folder) => ['train', join(folder, 'run.yaml')],
    resume: ['--resume'],
    results: (root) => new Map(trained(root, 'run')),
  },
  ...['exact', 'stochastic'].map((how) => ({
    name: `train with ${how} master weights`,
    share: 0.05,
    prepare(folder: string, root: string) {
      const keys = { dtype: 'bfloat16', master_weights: how, optim: 'adamw_bnb_8bit', output_dir: join(root, 'run') };
      writeFileSync(join(folder, 'run.yaml'), yaml({ ...trainKeys, ...keys }));
    },
    args: (folder: string) => ['train', join(folder, 'run.yaml')],
    resume: ['--resume'],
    results: (root: string) => new Map(trained(root, 'run')),
  })),
  {
    name: 'train with updates in the backward pass',
    share: 0.05,
    prepare(folder, root) {
      const keys = { optimizer_in_bwd: true, max_grad_norm: 0, output_dir: join(root, 'run') };
      writeFileSync(join(folder, 'run.yaml'), yaml({ ...trainKeys, ...keys }));
    },
    args: (folder) => ['train', join(folder, 'run.yaml')],
    resume: ['--resume'],
    results: (root) => new Map(trained(root, 'run')),
  },
  {
    name: 'train an adapter',
    share: 0.2,
    prepare: (folder, root) => {
      const lora = { use_peft: true, lora_target_modules: 'all-linear', lora_dropout: 0.1, use_dora: true };
      writeFileSync(join(folder, 'run.yaml'), yaml({ ...trainKeys, ...lora, output_dir: join(root, 'run') }));
    },
    args: (folder) => ['train', join(folder, 'run.yaml')],
    resume: ['--resume'],
    results: (root) => new Map(trained(root, 'run', 'adapter_model.safetensors')),
  },
  {
    name: 'sample',
    share: 0.1,
    prepare: (folder) => writeFileSync(join(folder, 'prompts.jsonl'), promptFile),
    args: (folder, root) => [
      ...['sample', '--model', model, '--prompts', join(folder, 'prompts.jsonl'), '--out', join(root, 'answers.jsonl')],
      ...['--temperature', '0.8', '--max-new-tokens', '6', '--seeds', '13,21', '--batch-size', '2'],
    ],
    results: (root) => new Map([sortedLines(root, 'answers.jsonl')]),
  },
  {
    name: 'score',
    share: 0.1,
    prepare: (folder) =>
      writeFileSync(join(folder, 'answers.jsonl'), answers.map((row) => `${JSON.stringify(row)}\n`).join('')),
    args: (folder, root) => [
      ...['score', '--answers', join(folder, 'answers.jsonl'), '--judge', judge, '--compare'],
      ...['--out', join(root, 'scored.jsonl'), '--concurrency', '2'],
    ],
    results: (root) => new Map([sortedLines(root, 'scored.jsonl')]),
  },
  {
    name: 'run',
    share: 0.15,
    prepare: (folder, root) => {
      writeFileSync(join(folder, 'prompts.jsonl'), promptFile);
      const { train_file, eval_split, eval_steps, ...train } = trainKeys;
      const stages: Record<string, object> = {
        sample: { model, prompts: join(folder, 'prompts.jsonl'), ...sampling, seeds: '[13, 21]' },
        score: { judge },
        pair: {},
        train: { ...train, gradient_accumulation_steps: 1, max_steps: 3 },
      };
      const blocks = Object.entries(stages).map(([name, keys]) => `${name}:\n${yaml(keys, '  ')}`);
      writeFileSync(join(folder, 'run.yaml'), `output_dir: ${root}\n${blocks.join('')}`);
    },
    args: (folder) => ['run', join(folder, 'run.yaml')],
    results: (root) => new Map([...trained(root, 'train'), sortedLines(root, 'scored.jsonl')]),
  },
  {
    name: 'download',
    share: 0.05,
    prepare: () => {},
    args: () => ['inspect', 'org/pairs', '--json'],
    results: (root) => {
      const cache = join(root, 'hub', 'datasets--org--pairs');
      return new Map(files(cache, 'blobs'));
    },
  },
  {
    name: 'export',
    share: 0.1,
    prepare: (folder) => cpSync(finished, join(folder, 'run'), { recursive: true }),
    args: (folder, root) => ['export', join(folder, 'run'), '--out', join(root, 'model')],
    whole: 'model',
    results: (root) => new Map(files(root, 'model')),
  },
  {
    name: 'merge',
    share: 0.1,
    prepare: () => {},
    args: (_, root) => ['merge', '--model', model, '--adapter', adapter, '--out', join(root, 'model')],
    whole: 'model',
    results: (root) => new Map(files(root, 'model')),
  },
];
