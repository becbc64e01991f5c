import { TRAINING_RANGES as ranges } from '@wpo/internal/training-ranges';
import * as v from 'valibot';
import { type AdapterSettings, adapterFields, checkAdapter, trainsAdapter } from './adapter';
import { boolean, choice, field, integer, number, path, text } from './fields';
import { checkLoss, lossFields } from './loss';
import { type ConfigOf, commandSchema, type Naming, type Problem } from './schema';
import { checkLengths, dtype, encodingFields, onBadRow, precision, settings, yamlColumns } from './shared';
import { readConfig } from './yaml-config';

const dataFields = {
  modelNameOrPath: path('model', {
    required: true,
    help: 'the Gemma-2 model to train: a folder in Hugging Face’s format, or org/name on the Hub',
  }),
  refModelNameOrPath: path('model', { help: 'the reference model (default: the model before training)' }),
  trainFile: path('dataset', {
    required: true,
    help: 'preference pairs to train on: a file, folder or glob of JSONL, JSON or Parquet, or org/name on the Hub',
  }),
  evalFile: path('dataset', { help: 'held-out pairs, evaluated before and after training' }),
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
    help: 'batches per optimizer step; their gradients are averaged',
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
  precomputeRefLogProbs: boolean({
    default: true,
    help:
      'run the reference once before training and keep its log-probs on disk; false keeps the reference in memory and ' +
      'runs it in each step',
  }),
};

const optimizerFields = {
  optim: choice(
    {
      adamw_torch: 'AdamW with two float32 moments, 8 bytes per trained parameter',
      adamw_bnb_8bit:
        'AdamW with moments of 8 bits, 2 bytes per trained parameter, and the embedding’s second moment in float32',
      lion_32bit: 'Lion with one float32 moment, 4 bytes; it wants about a tenth of AdamW’s learning_rate',
      adafactor: 'Adafactor with the learning rate of the schedule, a few bytes per row and column of a weight',
      sgd: 'stochastic gradient descent without momentum, no bytes',
    },
    { default: 'adamw_torch', help: 'the optimizer, by Transformers’ name' },
  ),
  offloadOptimizer: choice(
    {
      none: 'in memory of the device that computes',
      cpu: 'in memory of the CPU; a GPU copies it part by part, and the update takes longer',
    },
    { default: 'none', affects: 'nothing', help: 'where the optimizer’s moments are; cpu needs a GPU' },
  ),
  learningRate: number({ ...ranges.learningRate, default: 1e-6, help: 'peak learning rate' }),
  lrSchedulerType: choice(
    {
      cosine: 'half a cosine down to 0',
      linear: 'linearly down to 0',
      constant: 'no change, and no warm-up',
      constant_with_warmup: 'no change after the warm-up',
    },
    { default: 'linear', help: 'how the learning rate changes after the warm-up' },
  ),
  warmupRatio: number({
    ...ranges.warmupRatio,
    default: 0,
    help: 'share of the steps in which the learning rate rises from 0, rounded up to a step',
  }),
  warmupSteps: integer({
    ...ranges.warmupSteps,
    default: 0,
    help: 'number of steps in which the learning rate rises from 0; above 0 it overrides warmup_ratio',
  }),
  numTrainEpochs: number({ ...ranges.epochs, default: 1, help: 'passes over the pairs' }),
  maxSteps: integer({
    ...ranges.maxSteps,
    default: -1,
    help: 'number of optimizer steps; above 0 it overrides num_train_epochs',
  }),
  maxGradNorm: number({
    ...ranges.maxGradNorm,
    default: 1,
    help: 'largest gradient norm; larger gradients are scaled down to it; 0 turns this off',
  }),
  optimizerInBwd: boolean({
    default: false,
    help:
      'update each layer in the backward pass and free its gradients at once, so that those of the embedding and one layer are held ' +
      'instead of all; the batches of a step then run layer by layer, and keep the inputs of their layers; needs max_grad_norm: 0',
  }),
  weightDecay: number({
    ...ranges.weightDecay,
    default: 0,
    help: 'weight decay, on all parameters but those of norms',
  }),
  adamBeta1: number({
    ...ranges.beta1,
    default: 0.9,
    help: 'β₁ of AdamW and Lion: decay rate of the mean of gradients',
  }),
  adamBeta2: number({
    ...ranges.beta2,
    default: 0.999,
    help: 'β₂: decay rate of AdamW’s mean of squared gradients, or of Lion’s momentum',
  }),
  adamEpsilon: number({ ...ranges.epsilon, default: 1e-8, help: 'AdamW’s ε' }),
  seed: integer({ min: 0, default: 42, help: 'random seed of the order of the pairs and of eval_split' }),
  shuffle: boolean({ default: true, help: 'take the pairs in a new random order each epoch; false keeps their order' }),
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
  saveTotalLimit: integer({
    min: 1,
    default: 2,
    affects: 'nothing',
    help:
      'how many checkpoints are kept; older ones are deleted. The newest one and, with load_best_model_at_end, the best one ' +
      'always stay. The disk must hold one more while a checkpoint is saved',
  }),
};

const names = <T extends object>(fields: T) => Object.keys(fields) as (keyof T & string)[];

/** `wpo train`. */
export const trainSchema = commandSchema({
  name: 'train',
  summary: 'train a model on preference pairs',
  description: [
    'Trains a model on preference pairs. A YAML file configures the run. The folder output_dir then has model/ (for ' +
      'transformers and for wpo generate), metrics.jsonl, checkpoint-STEP/ and config.yaml.',
    'Relative paths in the file start from the folder of the file, those of --set from the working directory.',
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
  },
  flags: {
    config: path('file', { required: true, help: 'YAML file with the keys below', flag: { positional: true } }),
    set: settings('set a key of the file; may be repeated', 'key=value'),
    resume: boolean({ help: 'continue from the newest checkpoint in output_dir' }),
  },
  groups: {
    'Model and data': names(dataFields),
    'Adapter (LoRA)': names(adapterFields),
    Loss: names(lossFields),
    'Tokens and batches': names(batchFields),
    Optimizer: names(optimizerFields),
    'Metrics and checkpoints': names(reportingFields),
    'Best model and faults': names(resultFields),
  },
  check(config, name, written = {}) {
    const { evalFile, evalSplit, evalSteps } = config;
    const problems: Problem[] = [
      ...checkLoss(config, name, written),
      ...checkLengths(config, name),
      ...checkAdapter(config, name),
    ];
    if (evalFile !== undefined && evalSplit !== undefined) {
      const expected = `no value with ${name('evalFile')}`;
      problems.push({ field: 'evalSplit', expected, found: String(evalSplit), hint: 'Remove one of the two keys.' });
    }
    if (evalSteps !== undefined && evalFile === undefined && evalSplit === undefined) {
      const expected = `${name('evalFile')} or ${name('evalSplit')} with it`;
      problems.push({ field: 'evalSteps', expected, found: 'no pairs to evaluate' });
    }
    return [
      ...problems,
      ...checkOptimizer(config, name),
      ...checkOptimizerInBackward(config, name),
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

/** The optimizers that use an option. */
const OPTIMIZERS_WITH = {
  adamBeta1: ['adamw_torch', 'adamw_bnb_8bit', 'lion_32bit'],
  adamBeta2: ['adamw_torch', 'adamw_bnb_8bit', 'lion_32bit'],
  adamEpsilon: ['adamw_torch', 'adamw_bnb_8bit'],
} as const;

type OptimizerConfig = {
  readonly optim: string;
  readonly offloadOptimizer: string;
  readonly masterWeights?: string | undefined;
} & Readonly<Record<keyof typeof OPTIMIZERS_WITH, number>>;

/** Refuses options of other optimizers, which would change nothing. A run's own file of its configuration has their defaults. */
function checkOptimizer(config: OptimizerConfig, name: Naming): Problem[] {
  if (config.offloadOptimizer !== 'none' && ['adafactor', 'sgd'].includes(config.optim)) {
    const expected = `none with ${name('optim')} ${config.optim}`;
    const hint = 'It has no moments of the size of the weights.';
    return [{ field: 'offloadOptimizer', expected, found: config.offloadOptimizer, hint }];
  }
  if (config.offloadOptimizer !== 'none' && config.masterWeights === 'stochastic') {
    const expected = `none with ${name('masterWeights')} stochastic`;
    const hint =
      'Stochastic rounding depends on the place of a value in its weight, which is updated in parts. Use exact.';
    return [{ field: 'offloadOptimizer', expected, found: config.offloadOptimizer, hint }];
  }
  const fields = Object.keys(OPTIMIZERS_WITH) as (keyof typeof OPTIMIZERS_WITH)[];
  return fields.flatMap((field): Problem[] => {
    const users: readonly string[] = OPTIMIZERS_WITH[field];
    if (users.includes(config.optim) || config[field] === optimizerFields[field].default) return [];
    const expected = `no value with ${name('optim')} ${config.optim}`;
    return [{ field, expected, found: String(config[field]), hint: `It is an option of ${users.join(' and ')}.` }];
  });
}

function checkOptimizerInBackward(
  { optimizerInBwd, maxGradNorm }: { readonly optimizerInBwd: boolean; readonly maxGradNorm: number },
  name: Naming,
): Problem[] {
  if (!optimizerInBwd || maxGradNorm === 0) return [];
  const expected = `0 with ${name('optimizerInBwd')}`;
  const hint = 'Clipping needs the norm of all gradients before the first update, so all would be held.';
  return [{ field: 'maxGradNorm', expected, found: String(maxGradNorm), hint }];
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

/** Everything that configures a training run: defaults filled in, paths absolute. */
export type TrainConfig = ConfigOf<typeof trainSchema>;

/**
 * Reads the YAML file of `wpo train`.
 *
 * @param set settings as `key=value`, which override the file
 * @throws {UserError} naming every problem: file, line and key, what was expected and what was found
 */
export const readTrainConfig = (file: string, set: readonly string[] = []): Promise<TrainConfig> =>
  readConfig(trainSchema, file, set);
