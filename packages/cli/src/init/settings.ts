import type { Columns, PairReport } from '@wpo/data';
import { printable } from '@wpo/internal/printable';
import { defaultMaxPromptLength } from '@wpo/internal/prompt-length';
import { stringify } from 'yaml';
import { count, counted, share } from '../terminal/format';

// The settings that `wpo init` writes, and why each has its value.

/** A line of the YAML file. A setting without a value is only a comment. */
export interface Setting {
  readonly key: string;
  readonly value: unknown;
  readonly why: string;
}

/** What the settings are chosen for. Paths are as they are written into the file. */
export interface Facts {
  readonly model: string;
  readonly data: string;
  readonly outputDir: string;
  /** The most tokens that the model's positions allow. */
  readonly context: number;
  readonly report: PairReport;
  readonly skippedRows: number;
  /** The columns of the first row. */
  readonly dataColumns: readonly string[];
  readonly split: string | undefined;
  readonly columns: Columns | undefined;
  /** The split of the data with held-out pairs, if it has one. */
  readonly heldOutSplit: string | undefined;
}

/** The limit of the published run, and its learning rate, β, epochs and pairs per step: recipes/gemma-2-9b-it-wpo-hb.yaml. */
export const PUBLISHED = { maxLength: 2048, learningRate: 1e-6, beta: 0.01, epochs: 2, pairsPerStep: 128 } as const;

/** An adapter's learning rate, as in recipes/gemma-2-9b-it-wpo-lora.yaml. */
const ADAPTER_LEARNING_RATE = 1e-5;

/** Fewer steps teach little: a step has fewer pairs where the data is small. */
const FEWEST_STEPS = 50;

/** The most pairs that are held out: with 200, the standard error of an accuracy is at most 3.5 %. */
const MOST_HELD_OUT = 200;

/** Why a run's settings make it fit, and which they are, by key. They replace those of the same key. */
export type MemorySettings = Readonly<Record<string, { readonly value: unknown; readonly why: string }>>;

/** The settings of a run, in groups. */
export function settingsFor(facts: Facts, memory: MemorySettings): Setting[][] {
  const isAdapter = memory.use_peft?.value === true;
  const held = heldOut(facts);
  const training = facts.report.pairs - held.pairs;
  const perStep = pairsPerStep(training);
  const steps = PUBLISHED.epochs * Math.ceil(training / perStep);
  const lengths = lengthSettings(facts, memory.max_length?.value as number | undefined);
  const groups: Setting[][] = [
    [
      { key: 'model_name_or_path', value: facts.model, why: 'the model before training, which is also the reference' },
      { key: 'train_file', value: facts.data, why: describeData(facts) },
      ...(facts.split === undefined
        ? []
        : [{ key: 'dataset_train_split', value: facts.split, why: 'as --split says' }]),
      ...(facts.columns === undefined ? [] : [{ key: 'columns', value: facts.columns, why: 'as --columns says' }]),
      ...held.settings,
      { key: 'output_dir', value: facts.outputDir, why: 'gets model/, report.html, metrics.jsonl and checkpoints' },
      ...(facts.skippedRows === 0
        ? []
        : [
            {
              key: 'on_bad_row',
              value: 'skip',
              why: `${counted(facts.skippedRows, 'row')} cannot be used; each run names the first ones`,
            },
          ]),
    ],
    [
      ...lengths,
      ...(facts.report.systemTurns === 0
        ? []
        : [
            {
              key: 'system_role',
              value: 'merge',
              why: `${counted(facts.report.systemTurns, 'row')} with a system turn, which Gemma’s chat template refuses: it is put before the first user message`,
            },
          ]),
    ],
    Object.entries(memory)
      .filter(([key]) => key !== 'max_length')
      .map(([key, setting]) => ({ key, ...setting })),
    [
      { key: 'loss_type', value: 'wpo', why: 'DPO’s loss times the pair’s weight; `wpo weigh` shows the weights' },
      {
        key: 'beta',
        value: PUBLISHED.beta,
        why: 'of the published run; a larger value keeps the model closer to the one before training',
      },
      {
        key: 'learning_rate',
        value: isAdapter ? ADAPTER_LEARNING_RATE : PUBLISHED.learningRate,
        why: isAdapter
          ? 'ten times that of the published run, as an adapter needs a higher rate than all weights'
          : 'of the published run, for 9 billion parameters; small models need more: the demo’s 2 million have 5e-4',
      },
      { key: 'lr_scheduler_type', value: 'cosine', why: 'of the published run' },
      { key: 'warmup_ratio', value: 0.1, why: 'of the published run' },
      { key: 'num_train_epochs', value: PUBLISHED.epochs, why: `of the published run; ${counted(steps, 'step')} here` },
      {
        key: 'per_device_train_batch_size',
        value: 1,
        why: 'least memory; the next line says how many pairs a step has',
      },
      {
        key: 'gradient_accumulation_steps',
        value: perStep,
        why:
          perStep === PUBLISHED.pairsPerStep
            ? 'pairs per step, as in the published run'
            : `pairs per step; fewer than the ${PUBLISHED.pairsPerStep} of the published run, so that there are ${steps} steps`,
      },
    ],
    [
      { key: 'logging_steps', value: steps < 200 ? 1 : 10, why: 'steps per row of metrics.jsonl' },
      ...(held.pairs === 0 && facts.heldOutSplit === undefined
        ? []
        : [
            {
              key: 'eval_steps',
              value: fifth(steps),
              why: `${counted(Math.ceil(steps / fifth(steps)), 'evaluation')} of the held-out pairs, and one before training`,
            },
          ]),
      {
        key: 'save_steps',
        value: fifth(steps),
        why: `${counted(Math.ceil(steps / fifth(steps)), 'checkpoint')}; --resume continues from the newest`,
      },
      {
        key: 'save_total_limit',
        value: 1,
        why: 'keeps the newest checkpoint: the weights that are trained, and the optimizer’s state',
      },
      { key: 'seed', value: 42, why: 'of the order of the pairs; the same seed gives the same run' },
    ],
  ];
  return groups.filter((group) => group.length > 0);
}

const fifth = (steps: number) => Math.max(1, Math.ceil(steps / 5));

function pairsPerStep(pairs: number): number {
  const most = (PUBLISHED.epochs * pairs) / FEWEST_STEPS;
  return Math.max(1, Math.min(PUBLISHED.pairsPerStep, 2 ** Math.floor(Math.log2(Math.max(1, most)))));
}

function describeData({ report, dataColumns, columns }: Facts): string {
  const { pairs, repeats, negativeMargins, controlTokens } = report;
  const oddities = [
    ...(repeats.pairs > 0 ? [`${count(repeats.pairs)} repeat an earlier one`] : []),
    ...(repeats.equalAnswers > 0 ? [`${count(repeats.equalAnswers)} have equal answers`] : []),
    ...(negativeMargins > 0 ? [`in ${count(negativeMargins)} the rejected answer has the higher score`] : []),
    ...(controlTokens.rows > 0 ? [`${count(controlTokens.rows)} have control tokens in the text`] : []),
  ];
  const found = columns === undefined && dataColumns.length > 0 ? `, with the columns ${dataColumns.join(', ')}` : '';
  return `${counted(pairs, 'pair')}${found}${oddities.length === 0 ? '' : `; ${oddities.join(', ')}: wpo inspect lists them`}`;
}

/** How pairs are held out, and how many of the training pairs that takes. */
function heldOut({ heldOutSplit, data, report: { pairs } }: Facts): { pairs: number; settings: Setting[] } {
  if (heldOutSplit !== undefined) {
    return {
      pairs: 0,
      settings: [
        {
          key: 'eval_file',
          value: data,
          why: 'held-out pairs, evaluated before, during and after training: the data set has a split for them',
        },
        { key: 'dataset_test_split', value: heldOutSplit, why: 'this split' },
      ],
    };
  }
  const held = Math.min(MOST_HELD_OUT, Math.floor(pairs / 10));
  if (held === 0) return { pairs: 0, settings: [] };
  const error = (50 / Math.sqrt(held)).toFixed(held < 100 ? 0 : 1);
  const why = `pairs that are held out, to measure what is learned: with ${held}, the standard error of an accuracy is at most ${error} %`;
  return { pairs: held, settings: [{ key: 'eval_split', value: held, why }] };
}

/** @param forced a limit that memory requires */
function lengthSettings({ report, context }: Facts, forced: number | undefined): Setting[] {
  const longest = report.lengths.longest?.max ?? 0;
  const median = report.lengths.longest?.percentiles[50] ?? 0;
  const maxLength = forced ?? chooseMaxLength(longest, context);
  const found = `prompt and longer answer have ${count(Math.round(median))} tokens in the median, at most ${count(longest)}`;
  const why =
    forced !== undefined
      ? `${found}; a longer limit does not fit in memory`
      : maxLength >= longest
        ? `${found}: nothing is cut`
        : `${found}; the limit is that of ${maxLength < PUBLISHED.maxLength ? 'the model' : 'the published run'}, and ` +
          `${share(report.cuts?.pairs ?? 0, report.pairs)} of the pairs are cut`;
  const prompt = defaultMaxPromptLength(maxLength);
  return [
    { key: 'max_length', value: maxLength, why },
    {
      key: 'max_prompt_length',
      value: prompt,
      why:
        maxLength >= longest
          ? 'of a prompt that must be cut; none must'
          : 'the start of a longer prompt is cut first, then the end of answers; the share of max_length is that of the published run',
    },
  ];
}

/** The smallest multiple of 64 that cuts nothing, or the limit of the published run or of the model. */
export const chooseMaxLength = (longest: number, context: number): number =>
  Math.max(64, Math.min(64 * Math.ceil(longest / 64), limitOf(context)));

/** The largest limit of a length that is chosen. */
export const limitOf = (context: number): number => Math.min(PUBLISHED.maxLength, context);

/** The settings as a YAML file, each on one line, whatever names of paths and columns hold. @param head lines of a comment */
export const yamlOf = (head: readonly string[], groups: readonly (readonly Setting[])[]): string =>
  `${head.map((line) => `# ${printable(line)}`.trimEnd()).join('\n')}\n\n${groups
    .map((group) => group.map(({ key, value, why }) => `${key}: ${scalar(value)} # ${printable(why)}\n`).join(''))
    .join('\n')}`;

/** A value on one line. A small number has an exponent and a decimal point, so that YAML 1.1 reads it as a number too. */
function scalar(value: unknown): string {
  if (typeof value === 'number' && value > 0 && value < 1e-3) return value.toExponential().replace(/^(\d+)e/, '$1.0e');
  return stringify(value, { collectionStyle: 'flow', lineWidth: 0, blockQuote: false }).trimEnd();
}
