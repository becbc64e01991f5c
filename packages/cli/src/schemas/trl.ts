import { describe } from '@wpo/internal/describe';
import { printable } from '@wpo/internal/printable';
import { absentReason, SAME_OPTIMIZERS } from './other-names';
import type { Given } from './read-yaml';
import { becomes, ignoredBecause } from './trl-keys';
import { describeValue, type Entries } from './yaml-config';

/** A configuration in our own keys, and what was made of the others. */
export interface TranslatedConfig {
  readonly entries: Entries;
  /** What to print before the run: empty for a file of our own keys. */
  readonly notes: readonly string[];
}

/**
 * The programs whose files are read. A file is one of theirs if it names its data as they do; the keys that it leaves out then
 * have their defaults, so that `wpo train` trains what they would.
 */
const DIALECTS = {
  trl: {
    name: 'TRL 1.16 (`trl dpo --config`)',
    data: ['dataset_name', 'datasets'],
    defaults: {
      num_train_epochs: 3,
      per_device_train_batch_size: 8,
      max_length: 1024,
      precision: 'bfloat16',
      completion: 'trl',
      truncation: 'keep_start',
      use_weighting: false,
    },
  },
  handbook: {
    name: 'alignment-handbook',
    data: ['dataset_mixer', 'dataset_mixture'],
    // the lengths are those of DPOTrainer in TRL 0.9, with which the recipes ran; TRL 0.13 has 1024 and 512
    defaults: { num_train_epochs: 3, per_device_train_batch_size: 8, max_length: 512, max_prompt_length: 128 },
  },
} as const;

/**
 * Reads the keys of TRL's and alignment-handbook's files as ours. A key that would change what is trained, and has no
 * counterpart, stays as it is, so that it is reported as unknown with the reason.
 *
 * @param own the keys of `wpo train`
 */
export function translateConfig(entries: Entries, own: readonly string[], file: string): TranslatedConfig {
  const translator = new Translator(entries, own, file);
  readModel(translator);
  readData(translator);
  readEvaluation(translator);
  readSteps(translator);
  readReporting(translator);
  const defaults = fillDefaults(translator);
  return { entries: translator.finish(), notes: translator.notes(defaults) };
}

/** Holds what the file says and what has been made of it. */
class Translator {
  readonly dialect: keyof typeof DIALECTS | undefined;
  private readonly out: Map<string, Given>;
  private readonly mapped: string[] = [];
  private readonly ignored = new Map<string, string[]>();

  constructor(
    private readonly written: Entries,
    private readonly own: readonly string[],
    private readonly file: string,
  ) {
    this.out = new Map(written);
    const names = Object.keys(DIALECTS) as (keyof typeof DIALECTS)[];
    this.dialect = names.find((name) => DIALECTS[name].data.some((key) => this.value(key) !== undefined));
  }

  /** The value that the file gives to a key; undefined for none and for null. */
  value(key: string): unknown {
    return this.written.get(key)?.value ?? undefined;
  }

  isNull(key: string): boolean {
    return this.written.get(key)?.value === null;
  }

  /** Whether the result has a value for a key so far, or an error. */
  has(key: string): boolean {
    const given = this.out.get(key);
    return (given?.value ?? given?.refusal) !== undefined;
  }

  /** Replaces keys by keys of ours. One of ours that the file has beside them counts. */
  map(keys: readonly string[], values: Readonly<Record<string, unknown>>): void {
    const given = keys.filter((key) => this.value(key) !== undefined);
    const source = this.written.get(given[0]!)!;
    for (const key of given) this.out.delete(key);
    const set = Object.entries(values).filter(([key]) => !this.has(key));
    for (const [key, value] of set) this.out.set(key, { ...source, value });
    const from = given.map((key) => line(key, this.value(key))).join(', ');
    const to = set.map(([key, value]) => line(key, value)).join(', ');
    if (to === '') this.ignore(given, `${Object.keys(values).join(', ')} is set, and counts.`);
    else if (from !== to) this.mapped.push(`${from} → ${to}`);
  }

  ignore(keys: readonly string[], reason: string): void {
    const given = keys.filter((key) => this.value(key) !== undefined);
    for (const key of given) this.out.delete(key);
    if (given.length > 0) this.ignored.set(reason, [...(this.ignored.get(reason) ?? []), ...given]);
  }

  /** Makes a key's value an error. */
  refuse(key: string, expected: string, hint: string): void {
    const given = this.written.get(key)!;
    this.out.set(key, { ...given, refusal: `expected ${expected}, found ${describeValue(given.value)}. ${hint}` });
  }

  setDefault(key: string, value: unknown): void {
    if (!this.has(key)) this.out.set(key, { value, at: `${this.file}: `, folder: process.cwd() });
  }

  /** Our entries, after the keys that change nothing were taken out. */
  finish(): Entries {
    for (const [key, { value, refusal }] of [...this.out]) {
      if (this.own.includes(key) || refusal !== undefined || becomes(key) === undefined) continue;
      const reason = ignoredBecause(key, value);
      if (value === null) this.out.delete(key);
      else if (reason !== undefined) this.ignore([key], reason);
    }
    return this.out;
  }

  notes(defaults: Readonly<Record<string, unknown>>): string[] {
    const { dialect, file } = this;
    if (dialect === undefined && this.mapped.length + this.ignored.size === 0) return [];
    const batch = this.pairsPerStep();
    return [
      dialect === undefined
        ? `${file}: some keys are those of other programs.`
        : `${file} is read as a file of ${DIALECTS[dialect].name}. docs/from-trl.md has every key.`,
      ...section('Read as', this.mapped),
      ...section(
        'Ignored',
        [...this.ignored].map(([reason, keys]) => `${keys.join(', ')}: ${reason}`),
      ),
      ...section(
        'Left out of the file, so with the defaults of that program',
        Object.entries(defaults).map(([key, value]) => `${key}: ${value}`),
      ),
      ...(dialect === undefined || batch === undefined
        ? []
        : [
            `A step takes ${batch} pairs of each process. If the file is for N devices, start N processes with mpirun, or set num_processes to N.`,
          ]),
      ...(dialect === 'handbook' && !this.has('use_weighting')
        ? ['Pairs are weighted, as in the WPO authors’ script. For plain DPO: --set use_weighting=false.']
        : []),
    ];
  }

  private pairsPerStep(): number | undefined {
    const [batch, accumulation] = ['per_device_train_batch_size', 'gradient_accumulation_steps'].map(
      (key) => this.out.get(key)?.value ?? 1,
    );
    return typeof batch === 'number' && typeof accumulation === 'number' ? batch * accumulation : undefined;
  }
}

const line = (key: string, value: unknown) => `${key}: ${isText(value) ? printable(value, 100) : describe(value, 200)}`;

const section = (title: string, lines: readonly string[]): string[] =>
  lines.length === 0 ? [] : [`${title}:`, ...lines.map((line) => `  ${line}`)];

function fillDefaults(file: Translator): Readonly<Record<string, unknown>> {
  const filled: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(file.dialect === undefined ? {} : DIALECTS[file.dialect].defaults)) {
    if (file.has(key)) continue;
    // before 1.0, TRL cut prompts at max_prompt_length
    filled[key] = key === 'truncation' && file.has('max_prompt_length') ? 'paper' : value;
    file.setDefault(key, filled[key]);
  }
  return filled;
}

const HF_NAME = /^(hf:\/\/)?([\w.-]+\/[\w.-]+)$/;

function readModel(file: Translator): void {
  const revision = file.value('model_revision');
  const model = file.value('model_name_or_path');
  const name = isText(model) ? HF_NAME.exec(model)?.[2] : undefined;
  if (revision === 'main') file.ignore(['model_revision'], 'It is the default.');
  else if (revision !== undefined && name === undefined) {
    file.refuse('model_revision', 'main beside the path of a folder', 'Revisions are those of models on the Hub.');
  } else if (revision !== undefined) {
    file.map(['model_name_or_path', 'model_revision'], { model_name_or_path: `hf://${name}@${revision}` });
  }
  if (file.value('torch_dtype') !== undefined) file.map(['torch_dtype'], { dtype: file.value('torch_dtype') });
  const bf16 = file.value('bf16');
  if (typeof bf16 === 'boolean') file.map(['bf16'], { precision: bf16 ? 'bfloat16' : 'float32' });
  else if (bf16 !== undefined) file.refuse('bf16', 'true or false', 'It is precision here.');
  readDropout(file);
}

function readDropout(file: Translator): void {
  if (file.dialect !== undefined && file.value('disable_dropout') !== false) {
    file.ignore(['lora_dropout'], 'TRL turns off the dropout of adapters too, unless disable_dropout is false.');
  }
  file.ignore(['disable_dropout'], 'It decides whether lora_dropout counts. Gemma-2 has no dropout.');
}

type Source = Readonly<Record<string, unknown>>;

/** The data of a file. */
function readData(file: Translator): void {
  const splits = readSplits(file);
  const size = file.value('test_split_size');
  if (size !== undefined) file.map(['test_split_size'], { eval_split: size });
  if (file.value('datasets') !== undefined) {
    file.ignore(['dataset_name'], 'datasets counts, as in TRL.');
    readSources(file, 'datasets', ['path', 'fraction']);
  } else if (file.value('dataset_name') !== undefined)
    readSource(file, 'dataset_name', file.value('dataset_name'), splits);
  else if (file.value('dataset_mixture') !== undefined) readSources(file, 'dataset_mixture', ['id', 'weight']);
  else if (file.value('dataset_mixer') !== undefined) readMixer(file, splits);
}

const isText = (value: unknown): value is string => typeof value === 'string';

interface Splits {
  readonly train?: string | undefined;
  readonly test?: string | undefined;
}

/** The splits of a handbook's file: those with `train` and `test` in their names, as there. */
function readSplits(file: Translator): Splits | undefined {
  const given = file.value('dataset_splits');
  if (given === undefined) return undefined;
  const splits = [given].flat();
  const [train, test] = ['train', 'test'].map((part) => splits.filter(isText).filter((split) => split.includes(part)));
  if (train!.length === 1 && test!.length <= 1 && splits.length === 1 + test!.length) {
    return { train: train![0], test: test![0] };
  }
  const hint = 'For several splits, list the sources in train_file, each with its split.';
  file.refuse('dataset_splits', 'one split with train in its name, and at most one with test', hint);
  return undefined;
}

/** One data set, whose other split is evaluated if the file asks for it. */
function readSource(file: Translator, key: 'dataset_name' | 'dataset_mixer', name: unknown, splits: Splits = {}): void {
  const isTrl = key === 'dataset_name';
  const test = isTrl ? (file.value('dataset_test_split') ?? 'test') : splits.test;
  const train = isTrl ? (file.value('dataset_train_split') ?? 'train') : splits.train;
  const evaluates = wantsEvaluation(file) && test !== undefined && !file.has('eval_split');
  file.map([key, 'dataset_splits'], {
    train_file: name,
    ...(train !== undefined && { dataset_train_split: train }),
    ...(evaluates && { eval_file: name, dataset_test_split: test }),
  });
}

function readMixer(file: Translator, splits: Splits | undefined): void {
  const mixer = file.value('dataset_mixer');
  const parts = typeof mixer === 'object' ? Object.entries(mixer as Source) : [];
  if (parts.length === 0 || parts.some(([, part]) => part !== 1)) {
    const hint = 'Part of a data set is not read: list the sources in train_file, with their shares of an epoch.';
    file.refuse('dataset_mixer', 'data sets, each with the part 1.0', hint);
  } else if (parts.length === 1) readSource(file, 'dataset_mixer', parts[0]![0], splits);
  else {
    const sources = parts.map(([path]) => ({ path, ...(splits?.train !== undefined && { split: splits.train }) }));
    file.map(['dataset_mixer', 'dataset_splits'], { train_file: sources });
  }
}

/** A list of sources. @param names how a source's path and its share are called there */
function readSources(
  file: Translator,
  key: 'datasets' | 'dataset_mixture',
  [path, share]: readonly [string, string],
): void {
  const isTrl = key === 'datasets';
  const given = file.value(key);
  const mixture = Object(isTrl ? { datasets: given } : given) as Source;
  const isSource = (one: unknown): one is Source => {
    const { [path]: name, [share]: part = null, split, columns, ...rest } = Object(one) as Source;
    const isWhole = Object.values(rest).every((value) => value === null || value === 'default');
    return typeof name === 'string' && isWhole && (isTrl || part === null || part === 1);
  };
  const list = mixture.datasets;
  if (!Array.isArray(list) || list.length === 0 || !list.every(isSource)) {
    const parts = isTrl ? 'path, split and fraction' : 'id, split and a weight of 1.0';
    file.refuse(key, `data sets, each with ${parts}`, 'List the sources in train_file, as {path, split, share}.');
    return;
  }
  const sources = list.map((one: Source) => ({
    path: one[path],
    split: one.split ?? 'train',
    ...(isTrl && typeof one[share] === 'number' && { share: one[share] }),
  }));
  const size = isTrl ? undefined : mixture.test_split_size;
  file.map([key], { train_file: sources, ...(typeof size === 'number' && { eval_split: size }) });
}

const isNo = (strategy: unknown) => strategy === 'no' || strategy === false;

const STRATEGIES = ['eval_strategy', 'evaluation_strategy'];

const evaluationStrategy = (file: Translator) =>
  STRATEGIES.map((key) => file.value(key)).find((value) => value !== undefined);

function wantsEvaluation(file: Translator): boolean {
  const strategy = evaluationStrategy(file);
  return strategy === undefined ? file.value('do_eval') === true : !isNo(strategy);
}

function readEvaluation(file: Translator): void {
  const strategy = evaluationStrategy(file);
  const evaluates = file.has('eval_file') || file.has('eval_split');
  file.ignore(
    ['do_eval', ...STRATEGIES],
    evaluates
      ? 'Held-out pairs are evaluated before the first step, every eval_steps steps, and after the last.'
      : 'There are no held-out pairs to evaluate: name some with eval_file or eval_split.',
  );
  if (strategy === undefined && file.dialect === undefined) return;
  if (!evaluates) file.ignore(['eval_steps'], 'There are no held-out pairs.');
  else if (strategy !== 'steps') file.ignore(['eval_steps'], `${line('eval_strategy', strategy ?? 'no')}.`);
  else file.setDefault('eval_steps', file.value('logging_steps') ?? 10);
}

/** Keys of the optimizer, of batches and of checkpoints. */
function readSteps(file: Translator): void {
  const strategy = file.value('save_strategy');
  if (isNo(strategy)) file.map(['save_strategy', 'save_steps'], { save_steps: 0 });
  else if (strategy === 'steps' || strategy === 'epoch') {
    file.ignore(['save_strategy'], 'Checkpoints are saved every save_steps steps.');
  } else if (strategy !== undefined) {
    file.refuse('save_strategy', 'no, steps or epoch', 'For the best checkpoint: load_best_model_at_end: true.');
  }
  for (const key of ['save_steps', 'eval_steps', 'logging_steps']) {
    const value = file.value(key);
    if (typeof value !== 'number' || value <= 0 || value >= 1 || !file.has(key)) continue;
    file.refuse(key, 'a whole number of steps', 'A share of all steps is not read: give their number.');
  }
  for (const key of ['gradient_checkpointing', 'activation_checkpointing']) {
    const value = file.value(key);
    if (typeof value === 'boolean') file.map([key], { activation_checkpointing: value ? 'always' : 'never' });
  }
  const optimizer = file.value('optim');
  if (isText(optimizer) && Object.hasOwn(SAME_OPTIMIZERS, optimizer)) {
    file.map(['optim'], { optim: SAME_OPTIMIZERS[optimizer] });
  }
  const warmup = file.value('warmup_steps');
  if (typeof warmup === 'number' && warmup > 0 && warmup < 1) file.map(['warmup_steps'], { warmup_ratio: warmup });
  const sampling = file.value('train_sampling_strategy');
  if (sampling === 'random' || sampling === 'sequential') {
    file.map(['train_sampling_strategy'], { shuffle: sampling === 'random' });
  }
  readTruncation(file);
}

function readReporting(file: Translator): void {
  const given = file.value('report_to');
  const services = [given].flat();
  if (given === 'none' || given === 'tensorboard' || !services.every(isText)) return;
  if (services.includes('tensorboard') || given === 'all') file.map(['report_to'], { report_to: 'tensorboard' });
  else file.ignore(['report_to'], absentReason('wandb')!);
}

function readTruncation(file: Translator): void {
  const mode = file.value('truncation_mode');
  const hasPromptLimit = file.has('max_prompt_length');
  if (mode === 'keep_start') file.map(['truncation_mode'], { truncation: 'keep_start' });
  else if (mode === 'keep_end' && hasPromptLimit) file.map(['truncation_mode'], { truncation: 'paper' });
  else if (mode !== undefined) {
    const hint = 'Give max_prompt_length, at which the start of a prompt is cut, or truncation_mode: keep_start.';
    file.refuse('truncation_mode', 'keep_start, or keep_end beside max_prompt_length', hint);
  }
  if (file.dialect !== undefined && file.isNull('max_length')) {
    file.refuse(
      'max_length',
      'a number of tokens',
      'Pairs without a limit could take any memory. Give the longest that you have.',
    );
  }
}
