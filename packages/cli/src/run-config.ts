import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { nearestName } from '@wpo/internal/nearest';
import type { ScheduleType } from '@wpo/trainer';
import * as v from 'valibot';
import { isMap, isScalar, LineCounter, parse, parseDocument, stringify } from 'yaml';
import {
  above,
  atLeast,
  below1,
  defaultsTo,
  flag,
  maybe,
  needed,
  oneOf,
  shareOrCount,
  text,
  whole,
  within,
} from './config-values';
import { fromInput, UserError } from './errors';
import { type Contradiction, lossContradictions, lossKeys } from './loss-config';
import { sourceFrom, sourceKeys } from './sources';

const scheduleTypes = ['cosine', 'linear', 'constant', 'constant_with_warmup'] as const satisfies ScheduleType[];

const schema = v.object({
  model_name_or_path: needed(
    text('the path of a folder, or org/name on the hub'),
    'Gemma-2 model to train: a folder as Hugging Face lays it out, or org/name on the hub',
  ),
  ref_model_name_or_path: maybe(
    text('the path of a folder, or org/name on the hub'),
    'reference model, likewise; without it, the model as it is before training',
  ),
  train_file: needed(
    text('the path of a file, or org/name on the hub'),
    'preference pairs to train on: a file, folder or glob of JSONL, JSON or Parquet, or org/name on the hub',
  ),
  eval_file: maybe(text('the path of a file'), 'held-out pairs, evaluated before and after training'),
  eval_split: maybe(shareOrCount(), 'held-out pairs taken from train_file instead: a share below 1, or a count'),
  ...sourceKeys,
  output_dir: needed(text('the path of a folder'), 'the run’s folder: model, metrics, checkpoints'),

  ...lossKeys,
  precompute_ref_log_probs: defaultsTo(
    flag,
    true,
    'run the reference once, before training, and keep its log-probs on disk; false holds it in memory beside the model and runs it at each step',
  ),

  completion: defaultsTo(
    oneOf(['paper', 'trl', 'turn']),
    'paper',
    'what of the chat template belongs to an answer: paper, trl, turn',
  ),
  truncation: defaultsTo(
    oneOf(['paper', 'keep_start']),
    'paper',
    'how a pair that is too long is cut: paper, keep_start',
  ),
  max_length: defaultsTo(whole(2), 2048, 'most tokens of prompt and answer together'),
  max_prompt_length: defaultsTo(whole(1), 1800, 'most tokens of a prompt in a pair that is cut; truncation paper only'),
  on_bad_row: defaultsTo(
    oneOf(['error', 'skip']),
    'error',
    'what a row that cannot be used does: error stops, skip leaves it out and counts it',
  ),

  learning_rate: defaultsTo(above(0), 1e-6, 'peak learning rate'),
  lr_scheduler_type: defaultsTo(
    oneOf(scheduleTypes),
    'linear',
    `how the rate goes on after the warm-up: ${scheduleTypes.join(', ')}`,
  ),
  warmup_ratio: defaultsTo(within(0, 1), 0, 'share of the steps over which the rate rises from 0, rounded up'),
  warmup_steps: defaultsTo(whole(0), 0, 'the same as a count; above 0 it wins over warmup_ratio'),
  num_train_epochs: defaultsTo(above(0), 1, 'passes over the pairs'),
  max_steps: defaultsTo(whole(-1), -1, 'steps of the run; above 0 it wins over num_train_epochs'),
  per_device_train_batch_size: defaultsTo(whole(1), 1, 'pairs run at once'),
  gradient_accumulation_steps: defaultsTo(whole(1), 1, 'batches whose mean gradient makes one step'),
  per_device_eval_batch_size: defaultsTo(whole(1), 1, 'held-out pairs run at once'),
  max_tokens_per_pack: maybe(
    whole(1),
    'runs a step’s pairs in packs of at most so many tokens, prompts counted once: faster where pairs are short, the same gradient but for rounding',
  ),
  activation_checkpointing: defaultsTo(
    oneOf(['auto', 'always', 'never']),
    'auto',
    'always keeps a block’s input alone and runs the block again on the way back, never keeps all that the way back reads, auto as much as fits in memory',
  ),
  max_grad_norm: defaultsTo(
    atLeast(0),
    1,
    'longest gradient; a longer one is scaled down to it, 0 leaves all as they are',
  ),
  weight_decay: defaultsTo(atLeast(0), 0, 'AdamW’s decoupled decay of all weights but norms'),
  adam_beta1: defaultsTo(below1(), 0.9, 'decay of AdamW’s mean of gradients'),
  adam_beta2: defaultsTo(below1(), 0.999, 'decay of AdamW’s mean of squared gradients'),
  adam_epsilon: defaultsTo(atLeast(0), 1e-8, 'added to AdamW’s denominator'),
  seed: defaultsTo(whole(0), 42, 'decides the order of the pairs and the held-out split'),
  shuffle: defaultsTo(flag, true, 'take the pairs in a new order each epoch; false keeps the file’s'),

  logging_steps: defaultsTo(whole(1), 10, 'steps between two lines of metrics'),
  eval_steps: maybe(whole(1), 'steps between two evaluations; without it, before the first step and after the last'),
  save_steps: defaultsTo(whole(0), 500, 'steps between two checkpoints; 0 saves one at the end only'),
  save_total_limit: maybe(whole(1), 'checkpoints kept, the newest; without it, all'),
  dtype: maybe(
    oneOf(['float32', 'bfloat16']),
    'type of the saved model’s weights: float32, bfloat16; without it, the input model’s',
  ),
});

/** Everything that `wpo train` is told, defaults filled in, paths absolute. */
export type RunConfig = Readonly<v.InferOutput<typeof schema>>;

const keys = Object.keys(schema.entries) as (keyof RunConfig)[];

/** Keys that hold a path or a name on the hub. */
const sources = {
  model_name_or_path: 'model',
  ref_model_name_or_path: 'model',
  train_file: 'dataset',
  eval_file: 'dataset',
} as const;

/** Keys that decide a run's weights or its evaluations: the same for a run and its resumption. */
export const decidingKeys = [
  'eval_split',
  ...(Object.keys(lossKeys) as (keyof typeof lossKeys)[]),
  'precompute_ref_log_probs',
  'completion',
  'truncation',
  'max_length',
  'max_prompt_length',
  'learning_rate',
  'lr_scheduler_type',
  'warmup_ratio',
  'warmup_steps',
  'num_train_epochs',
  'max_steps',
  'per_device_train_batch_size',
  'gradient_accumulation_steps',
  'max_tokens_per_pack',
  'max_grad_norm',
  'weight_decay',
  'adam_beta1',
  'adam_beta2',
  'adam_epsilon',
  'seed',
  'shuffle',
] as const satisfies readonly (keyof RunConfig)[];

/** A key as documentation lists it. */
export interface KeyDescription {
  readonly key: string;
  /** As YAML has it; `required`, or empty where the key has neither value nor need. */
  readonly default: string;
  readonly meaning: string;
}

/** All keys, in the order in which they are explained. */
export const describeKeys = (): KeyDescription[] =>
  keys.map((key) => {
    const entry: v.GenericSchema = schema.entries[key];
    const value = v.getDefault(entry as v.OptionalSchema<v.GenericSchema, undefined>);
    const needs = entry.type !== 'optional';
    return {
      key,
      default: needs ? 'required' : value === undefined ? '' : show(value),
      meaning: v.getDescription(entry) ?? '',
    };
  });

/** A value as people write it: small numbers by their exponent. */
const show = (value: unknown) =>
  typeof value === 'number' && value > 0 && value < 1e-3 ? value.toExponential() : String(value);

/**
 * Reads a run's YAML file. Relative paths in it are taken from the file's own folder, those of `set` from the working
 * directory.
 *
 * @param set `key=value` each, the value as YAML has it: they win over the file
 * @throws {UserError} naming every problem: file and line, key, what was found and what wanted
 */
export async function readRunConfig(file: string, set: readonly string[] = []): Promise<RunConfig> {
  const yaml = await fromInput(() => readFile(file, 'utf8').catch((error) => noConfig(file, error)));
  return parseRunConfig(yaml, { file, set });
}

function noConfig(file: string, error: NodeJS.ErrnoException): never {
  const found = error.code === 'ENOENT' ? 'no such file' : error.message;
  throw new UserError(`${file}: found ${found}, wanted a run's YAML file. recipes/ holds some to start from.`);
}

/** A value and where it was given. */
export interface Given {
  readonly value: unknown;
  /** What messages put before the key: `run.yaml:3: `, or `--set `. */
  readonly at: string;
  /** What a relative path starts from. */
  readonly folder: string;
}

/** As `readRunConfig`, of the file's text. */
export function parseRunConfig(
  yaml: string,
  { file, set = [] }: { readonly file: string; readonly set?: readonly string[] },
): RunConfig {
  const given = new Map([...readYaml(yaml, file), ...set.map(readSetting)]);
  for (const [key, { value }] of given) if (value === null) given.delete(key); // `key:` alone leaves the default
  const problems = [...unknownKeys(given)];

  const known = Object.fromEntries([...given].map(([key, { value }]) => [key, value]));
  const result = v.safeParse(schema, known);
  const at = (key: string) => `${given.get(key)?.at ?? `${file}: `}${key}`;
  for (const issue of result.issues ?? []) {
    const key = String(issue.path?.[0]?.key);
    problems.push(
      given.has(key)
        ? `${at(key)}: found ${describe(issue.input)}, wanted ${issue.message}.`
        : `${at(key)} is missing; wanted the ${v.getDescription(schema.entries[key as keyof RunConfig])}.`,
    );
  }
  if (result.success) problems.push(...contradictions(result.output).map(([key, what]) => `${at(key)}: ${what}`));
  if (problems.length > 0 || !result.success) throw new UserError(problems.join('\n'));

  const config = { ...result.output };
  for (const key of Object.keys(sources) as (keyof typeof sources)[]) {
    const source = config[key];
    if (source !== undefined) config[key] = sourceFrom(given.get(key)!.folder, source, sources[key]);
  }
  config.output_dir = resolve(given.get('output_dir')!.folder, config.output_dir);
  return config;
}

/** A config as a YAML file that reads back equal. */
export const runConfigYaml = (config: RunConfig): string =>
  stringify(Object.fromEntries(keys.flatMap((key) => (config[key] === undefined ? [] : [[key, config[key]]]))));

/** The keys of a YAML text, each with its line and the file's folder. */
export function readYaml(yaml: string, file: string): [string, Given][] {
  const lines = new LineCounter();
  const document = parseDocument(yaml, { lineCounter: lines, prettyErrors: false });
  const lineOf = (offset: number | undefined) => lines.linePos(offset ?? 0).line;
  if (document.errors.length > 0) {
    throw new UserError(
      document.errors.map((e) => `${file}:${lineOf(e.pos[0])}: is not YAML: ${e.message}`).join('\n'),
    );
  }
  const { contents } = document;
  if (contents === null) return [];
  if (!isMap(contents)) throw new UserError(`${file}: found no keys, wanted lines of the form "key: value".`);
  const values = document.toJS() as Record<string, unknown>;
  const folder = dirname(resolve(file));
  return contents.items.map(({ key }) => {
    const name = isScalar(key) ? String(key.value) : String(key);
    const line = lineOf(isScalar(key) ? key.range?.[0] : undefined);
    return [name, { value: values[name], at: `${file}:${line}: `, folder }];
  });
}

/** A `key=value` of `--set`. */
export function readSetting(setting: string): [string, Given] {
  const split = setting.indexOf('=');
  if (split < 1) throw new UserError(`--set ${setting}: wanted key=value, e.g. --set learning_rate=1e-6.`);
  const [key, value] = [setting.slice(0, split).trim(), setting.slice(split + 1)];
  try {
    return [key, { value: parse(value), at: '--set ', folder: process.cwd() }];
  } catch {
    throw new UserError(
      `--set ${key}: found ${describe(value)}, wanted a value as YAML has it; quote text with : or #.`,
    );
  }
}

function* unknownKeys(given: ReadonlyMap<string, Given>): Generator<string> {
  for (const [key, { at }] of given) {
    if (Object.hasOwn(schema.entries, key)) continue;
    yield `${at}${key}: there is no such key. The nearest is "${nearestName(key, keys)}"; \`wpo train --help\` lists all.`;
  }
}

/** Keys that are right by themselves and wrong together. */
function contradictions(config: RunConfig): Contradiction[] {
  const found = lossContradictions(config);
  const { max_length, max_prompt_length, truncation, eval_file, eval_split, eval_steps } = config;
  if (truncation === 'paper' && max_prompt_length >= max_length) {
    found.push([
      'max_prompt_length',
      `found ${max_prompt_length} with max_length ${max_length}, wanted less: what is left is the answers’.`,
    ]);
  }
  if (eval_file !== undefined && eval_split !== undefined) {
    found.push(['eval_split', 'found beside eval_file, wanted one of the two.']);
  }
  if (eval_steps !== undefined && eval_file === undefined && eval_split === undefined) {
    found.push(['eval_steps', 'found without pairs to evaluate, wanted eval_file or eval_split beside it.']);
  }
  return found;
}

/** A value, for a message. */
export function describe(value: unknown): string {
  if (typeof value === 'string') return `the text ${JSON.stringify(value)}`;
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object') return 'a group of keys';
  return String(value);
}
