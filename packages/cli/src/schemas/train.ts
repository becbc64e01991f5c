import { MAX_COUNT, TRAINING_RANGES as ranges } from '@wpo/internal/training-ranges';
import * as v from 'valibot';
import { type AdapterSettings, adapterFields, checkAdapter, trainsAdapter } from './adapter';
import { boolean, choice, field, integer, numberFromText, path, text, texts } from './fields';
import { checkLoss, lossFields } from './loss';
import { checkOptimizer, optimizerFields } from './optimizer';
import { readConfigText } from './read-yaml';
import { type ConfigOf, commandSchema, type Naming, type Problem, yamlKey } from './schema';
import {
  checkLengths,
  dtype,
  encodingFields,
  jsonFlag,
  onBadRow,
  type PairSource,
  pairSources,
  precision,
  settings,
  yamlColumns,
} from './shared';
import { translateConfig } from './trl';
import { parseEntries, readEntries } from './yaml-config';

const dataFields = {
  modelNameOrPath: path('model', {
    required: true,
    help: 'the Gemma-2 model to train: a folder in Hugging Face’s format, or org/name on the Hub',
  }),
  refModelNameOrPath: path('model', { help: 'the reference model (default: the model before training)' }),
  trainFile: pairSources(
    {
      required: true,
      help: 'preference pairs to train on: a file, folder or glob of JSONL, JSON, CSV, TSV, Parquet or Arrow, or org/name on the Hub; or a list of such sources',
    },
    { hasShares: true },
  ),
  mixing: choice(
    {
      cap: 'take no pair twice: sources that have more than their share are cut',
      repeat: 'take every pair: sources that have less than their share are repeated',
    },
    { default: 'cap', affects: 'files', help: 'how the sources of train_file are brought to their shares' },
  ),
  evalFile: pairSources(
    { help: 'held-out pairs, evaluated before and after training; also a list, as train_file, but without shares' },
    { hasShares: false },
  ),
  evalSplit: field(
    {
      expected: 'a share between 0 and 1, or a whole number of pairs',
      json: { type: 'number', exclusiveMinimum: 0 },
      schema: v.pipe(
        v.number(),
        v.check((found) => found > 0 && (found < 1 || Number.isSafeInteger(found))),
      ),
      fromText: Number,
    },
    { help: 'take the held-out pairs from train_file: a share below 1, or a number of pairs' },
  ),
  datasetTrainSplit: text('the name of a split', {
    affects: 'files',
    help: 'split of train_file, if that is a folder or a data set (default: train_prefs, else train)',
  }),
  datasetTestSplit: text('the name of a split', {
    affects: 'files',
    help: 'split of eval_file (default: test_prefs, else test, else validation)',
  }),
  columns: yamlColumns,
  outputDir: path('output', { required: true, help: 'folder of the run: model, metrics, checkpoints' }),
  dtype: {
    ...dtype,
    help:
      'number type of the weights in memory; trained ones are float32 unless it is bfloat16, which needs master_weights; those of an ' +
      'adapter and of norms are always float32',
  },
  masterWeights: choice(
    {
      exact:
        'beside each bfloat16 weight, 16 more bits make it a float32 value, which the optimizer changes: exactly the updates of ' +
        'float32 weights, in as much memory; passes read the nearest bfloat16',
      stochastic: 'the optimizer’s result is rounded to bfloat16 up or down at random, in proportion: half the memory',
    },
    { help: 'how weights that are trained are held with dtype bfloat16' },
  ),
  precision,
  saveDtype: choice(
    { float32: '', bfloat16: '' },
    { affects: 'files', help: 'number type of the saved model (default: that of the input model)' },
  ),
};

const batchFields = {
  ...encodingFields,
  onBadRow,
  perDeviceTrainBatchSize: integer({ ...ranges.batchSize, default: 1, help: 'pairs per forward pass' }),
  perDeviceEvalBatchSize: integer({
    ...ranges.batchSize,
    default: 1,
    affects: 'files',
    help: 'held-out pairs per forward pass',
  }),
  gradientAccumulationSteps: integer({
    ...ranges.gradientAccumulationSteps,
    default: 1,
    help: 'batches per optimizer step of each process; their gradients are averaged',
  }),
  numProcesses: integer({
    min: 1,
    max: 100_000,
    help:
      'the number of processes that gradient_accumulation_steps is meant for: a step has their batches together, whatever the number that ' +
      'runs (default: those that mpirun starts)',
  }),
  distTimeout: integer({
    min: 1,
    max: MAX_COUNT,
    default: 1800,
    affects: 'nothing',
    help: 'seconds that processes wait for each other; then the run ends with the name of the one that did not come',
  }),
  maxTokensPerPack: integer({
    ...ranges.maxTokensPerPack,
    help:
      'run the pairs of a step in packs of at most this many tokens, with each prompt computed once; faster for short ' +
      'pairs, with the same gradient up to rounding',
  }),
  activationCheckpointing: choice(
    {
      auto: 'keep as many activations as fit in memory',
      always: 'keep only the input of each block, and recompute the block in the backward pass',
      never: 'keep all activations that the backward pass needs',
    },
    { default: 'auto', affects: 'nothing', help: 'which activations are kept for the backward pass' },
  ),
  offloadActivations: choice(
    {
      none: 'in memory of the device that computes',
      cpu: 'in memory of the CPU, copied beside the passes',
    },
    {
      default: 'none',
      affects: 'nothing',
      help: 'where the inputs of recomputed layers are until the backward pass; cpu needs a GPU',
    },
  ),
  precomputeRefLogProbs: boolean({
    default: true,
    help:
      'run the reference once before training and keep its log-probs on disk; false keeps the reference in memory and ' +
      'runs it in each step',
  }),
};

/** Metrics of an evaluation, without `eval_`. */
const EVALUATION_METRICS = [
  'loss',
  'rewards/accuracies',
  'rewards/margins',
  'rewards/chosen',
  'rewards/rejected',
  'logps/chosen',
  'logps/rejected',
  'wpo/weight',
];

const resultFields = {
  loadBestModelAtEnd: boolean({
    default: false,
    affects: 'files',
    help:
      'save the model of the checkpoint with the best evaluation instead of the last one; needs held-out pairs, eval_steps, ' +
      'and save_steps a multiple of it',
  }),
  metricForBestModel: field(
    {
      expected: `one of ${EVALUATION_METRICS.join(', ')}`,
      json: { enum: EVALUATION_METRICS.flatMap((name) => [name, `eval_${name}`]) },
      schema: v.picklist(EVALUATION_METRICS.flatMap((name) => [name, `eval_${name}`])) as v.GenericSchema<
        unknown,
        string
      >,
      placeholder: 'name',
      fromText: (given) => given,
    },
    { affects: 'files', help: 'the metric of held-out pairs that load_best_model_at_end compares (default: loss)' },
  ),
  greaterIsBetter: boolean({
    affects: 'files',
    help: 'whether a greater metric_for_best_model is better (default: true unless its name ends in loss)',
  }),
  stopOnCollapse: boolean({
    default: false,
    affects: 'files',
    help:
      'end the run when the model has collapsed, with the last checkpoint before and exit status 3; without it there is ' +
      'only a warning; a model has collapsed when its chosen answers lost 1 nat per token, or weights fell to 2 %',
  }),
  skipNonfinite: integer({
    ...ranges.skipNonfinite,
    default: 0,
    affects: 'files',
    help: 'leave out at most this many steps whose loss or gradient is NaN or infinite; the next one stops the run',
  }),
};

const reportingFields = {
  loggingSteps: integer({
    ...ranges.loggingSteps,
    min: 1,
    default: 10,
    affects: 'nothing',
    help: 'write a metrics row every logging_steps steps',
  }),
  evalSteps: integer({
    ...ranges.evalSteps,
    min: 1,
    affects: 'files',
    help: 'evaluate every eval_steps steps (default: only before the first step and after the last)',
  }),
  saveSteps: integer({
    ...ranges.saveSteps,
    default: 500,
    affects: 'nothing',
    help: 'save a checkpoint every save_steps steps; 0 saves only at the end',
  }),
  reportTo: choice(
    {
      none: 'only metrics.jsonl and report.html',
      tensorboard: 'also event files for TensorBoard, in output_dir/tensorboard',
    },
    { default: 'none', affects: 'nothing', help: 'where metrics are written' },
  ),
  evalPrompts: texts('a prompt, or a list of prompts', {
    affects: 'nothing',
    help:
      'prompts that the model answers before training, every eval_steps steps and after the last, with the most likely tokens; ' +
      'the answers are printed, and in report.html',
  }),
  evalPromptsFile: path('file', {
    affects: 'nothing',
    help: 'more such prompts: a JSONL file with a column prompt, as wpo sample reads it',
  }),
  reportSamples: integer({
    min: 0,
    max: 16,
    default: 3,
    affects: 'nothing',
    help: 'how many held-out prompts the model answers before and after training, for report.html; 0 samples none',
  }),
  saveTotalLimit: integer({
    min: 1,
    default: 2,
    affects: 'nothing',
    help:
      'how many checkpoints are kept; older ones are deleted. The newest one and, with load_best_model_at_end, the best one ' +
      'always stay. The disk must hold one more while a checkpoint is saved',
  }),
};

const hubFields = {
  pushToHub: boolean({
    default: false,
    affects: 'nothing',
    help: 'upload the model to the Hugging Face Hub at the end, with the token in HF_TOKEN, as wpo push does',
  }),
  hubModelId: text('org/name, or a name in your own account', {
    affects: 'nothing',
    help: 'the repository for push_to_hub (default: the last part of output_dir, in the account of the token)',
  }),
  hubPrivateRepo: boolean({ affects: 'nothing', help: 'create that repository as a private one' }),
};

const names = <T extends object>(fields: T) => Object.keys(fields) as (keyof T & string)[];

/** `wpo train`. */
export const trainSchema = commandSchema({
  name: 'train',
  summary: 'train a model on preference pairs',
  description: [
    'Trains a model on preference pairs. A YAML file configures the run. The folder output_dir then has model/ (for ' +
      'transformers and for wpo generate), report.html, metrics.jsonl, pairs.jsonl, checkpoint-STEP/ and config.yaml.',
    'Relative paths in the file start from the folder of the file, those of --set from the working directory.',
    'A file of TRL (trl dpo --config) or alignment-handbook is read as it is: docs/from-trl.md says what becomes of each key.',
  ],
  configFile: true,
  fields: {
    ...dataFields,
    ...adapterFields,
    ...lossFields,
    ...batchFields,
    ...optimizerFields,
    ...reportingFields,
    ...resultFields,
    ...hubFields,
  },
  flags: {
    config: path('file', { required: true, help: 'YAML file with the keys below', flag: { positional: true } }),
    set: settings('set a key of the file; may be repeated', 'key=value'),
    resume: boolean({ help: 'continue from the newest checkpoint in output_dir' }),
    nproc: integer({
      min: 1,
      max: 100_000,
      help: 'start this number of processes on this machine, with mpirun, and divide each step among them',
    }),
    json: jsonFlag,
    watch: field(
      {
        expected: 'nothing, or a port from 1 to 65535',
        json: { type: ['boolean', 'integer'] },
        schema: v.union([v.literal(true), v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(65535))]),
        optionalValue: 'port',
        fromText: numberFromText,
      },
      {
        help:
          'show the report on this machine while the run trains, at an address that is printed: at this port of 127.0.0.1, else at ' +
          'a free one',
      },
    ),
  },
  groups: {
    'Model and data': names(dataFields),
    'Adapter (LoRA)': names(adapterFields),
    Loss: names(lossFields),
    'Tokens and batches': names(batchFields),
    Optimizer: names(optimizerFields),
    'Metrics and checkpoints': names(reportingFields),
    'Best model and faults': names(resultFields),
    'Hugging Face Hub': names(hubFields),
  },
  check(config, name, written = {}) {
    const { evalFile, evalSplit, evalSteps } = config;
    const problems: Problem[] = [
      ...checkLoss(config, name, written),
      ...checkLengths(config, name),
      ...checkAdapter(config, name),
    ];
    problems.push(...checkShares(config.trainFile, name));
    if (evalFile !== undefined && evalSplit !== undefined) {
      const expected = `no value with ${name('evalFile')}`;
      problems.push({ field: 'evalSplit', expected, found: String(evalSplit), hint: 'Remove one of the two keys.' });
    }
    const { evalPrompts, evalPromptsFile } = config;
    if (evalSteps !== undefined && (evalFile ?? evalSplit ?? evalPrompts ?? evalPromptsFile) === undefined) {
      const expected = `${name('evalFile')}, ${name('evalSplit')} or ${name('evalPrompts')} with it`;
      problems.push({ field: 'evalSteps', expected, found: 'nothing to evaluate' });
    }
    return [
      ...problems,
      ...checkActivations(config, name),
      ...checkOptimizer(config, name),
      ...checkDtype(config, name),
      ...checkBestModel(config, name),
    ];
  },
  examples: [
    'wpo train recipes/demo.yaml',
    'wpo train run.yaml --set learning_rate=5e-7 --set output_dir=runs/slower',
    'wpo train run.yaml --resume',
  ],
});

/** Refuses a list in which only some sources have a share. */
function checkShares(sources: string | readonly PairSource[], name: Naming): Problem[] {
  if (typeof sources === 'string') return [];
  const without = sources.filter(({ share }) => share === undefined);
  if (without.length === 0 || without.length === sources.length) return [];
  const expected = 'a share for each source, or for none';
  return [{ field: 'trainFile', expected, found: `no share for ${without[0]!.path}`, hint: `See ${name('mixing')}.` }];
}

/** Refuses `offload_activations` where no layer is recomputed, so that no input of one is kept. */
function checkActivations(config: ActivationSettings, name: Naming): Problem[] {
  if (config.activationCheckpointing !== 'never' || config.offloadActivations === 'none') return [];
  const expected = `none with ${name('activationCheckpointing')} never`;
  const hint = 'Only the inputs of layers that are recomputed are offloaded. Use auto or always.';
  return [{ field: 'offloadActivations', expected, found: config.offloadActivations, hint }];
}

interface ActivationSettings {
  readonly activationCheckpointing: string;
  readonly offloadActivations: string;
}

type WeightTypes = AdapterSettings & { readonly dtype: string; readonly masterWeights?: string | undefined };

/** Refuses trained weights that are rounded to the nearest bfloat16, and `master_weights` where no weights are so held. */
function checkDtype(config: WeightTypes, name: Naming): Problem[] {
  const { dtype, masterWeights } = config;
  const trainsBf16 = dtype === 'bfloat16' && !trainsAdapter(config);
  if (trainsBf16 === (masterWeights !== undefined)) return [];
  if (trainsBf16) {
    const expected = `auto or float32, or ${name('masterWeights')} with it`;
    const hint =
      'If weights were rounded to the nearest bfloat16, most would never change: the next one to 0.02 is 1.2e-4 away, and a step at ' +
      `a learning rate of 1e-6 moves a weight by 1e-6. The type of the saved model is ${name('saveDtype')}.`;
    return [{ field: 'dtype', expected, found: dtype, hint }];
  }
  const expected = trainsAdapter(config)
    ? 'no value with an adapter, whose weights are float32'
    : `no value without ${name('dtype')}: bfloat16`;
  const hint = trainsAdapter(config) ? '' : 'Weights that are trained are float32 otherwise, and need no other copy.';
  return [{ field: 'masterWeights', expected, found: masterWeights!, ...(hint && { hint }) }];
}

/** Finds out why `load_best_model_at_end` could load nothing. */
function checkBestModel(config: BestModelConfig, name: Naming): Problem[] {
  const { loadBestModelAtEnd, evalSteps, saveSteps } = config;
  const field = 'loadBestModelAtEnd';
  if (!loadBestModelAtEnd) {
    const unused = (['metricForBestModel', 'greaterIsBetter'] as const).filter((key) => config[key] !== undefined);
    return unused.map((key) => ({
      field: key,
      expected: `no value without ${name(field)}: true`,
      found: String(config[key]),
    }));
  }
  if (evalSteps === undefined) {
    const hint = `Set ${name('evalSteps')} and, as a multiple of it, ${name('saveSteps')}.`;
    return [{ field, expected: `${name('evalSteps')} with it`, found: 'nothing', hint }];
  }
  if (saveSteps > 0 && saveSteps % evalSteps === 0) return [];
  const expected = `a multiple of ${name('evalSteps')}, ${evalSteps}, with ${name(field)}`;
  const hint = 'Only a checkpoint that was evaluated can be the best.';
  return [{ field: 'saveSteps', expected, found: String(saveSteps), hint }];
}

interface BestModelConfig {
  readonly loadBestModelAtEnd: boolean;
  readonly metricForBestModel?: string | undefined;
  readonly greaterIsBetter?: boolean | undefined;
  readonly evalSteps?: number | undefined;
  readonly saveSteps: number;
}

/** Batches of an optimizer step, of all processes together. */
export const batchesPerStep = ({
  gradientAccumulationSteps,
  numProcesses = 1,
}: Pick<TrainConfig, 'gradientAccumulationSteps' | 'numProcesses'>): number => gradientAccumulationSteps * numProcesses;

/** Everything that configures a training run: defaults filled in, paths absolute. @interface */
export type TrainConfig = { [K in keyof ConfigOf<typeof trainSchema>]: ConfigOf<typeof trainSchema>[K] };

/**
 * Reads the YAML file of `wpo train`: one with its keys, or one of TRL or alignment-handbook.
 *
 * @param set settings as `key=value`, which override the file
 * @param note receives what was made of keys of other programs, line by line; nothing for a file without such keys
 * @throws {UserError} naming every problem: file, line and key, what was expected and what was found
 */
export async function readTrainConfig(
  file: string,
  set: readonly string[] = [],
  note: (line: string) => void = () => {},
): Promise<TrainConfig> {
  const { config, notes } = parseTrainConfig(await readConfigText(file), { file, set });
  for (const line of notes) note(line);
  return config;
}

/** Like `readTrainConfig`, for the text of the file. */
export function parseTrainConfig(
  yaml: string,
  { file, set = [] }: { readonly file: string; readonly set?: readonly string[] },
): { readonly config: TrainConfig; readonly notes: readonly string[] } {
  const own = Object.keys(trainSchema.fields).map(yamlKey);
  const { entries, notes } = translateConfig(readEntries(yaml, file, set), own, file);
  return { config: parseEntries(trainSchema, entries, { file }), notes };
}
