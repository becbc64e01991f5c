import { TRAINING_RANGES as ranges } from '@wpo/internal/training-ranges';
import { boolean, choice, integer, number } from './fields';
import type { Naming, Parsed, Problem } from './schema';

/** The optimizer of a run, its steps and their order. Names are Transformers'. */
export const optimizerFields = {
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
  offloadGradients: choice(
    {
      none: 'in memory of the device that computes',
      cpu: 'in memory of the CPU; the batches of a step then run layer by layer, and hold the inputs of their layers',
    },
    { default: 'none', help: 'where gradients are from the backward pass until the update; cpu needs a GPU' },
  ),
  sharding: choice(
    {
      none: 'every process has the whole optimizer state',
      zero1:
        'each process has the state of its part of every weight, updates that part, and sends it to the others (ZeRO-1)',
    },
    { default: 'none', affects: 'nothing', help: 'what the processes of a run divide among them' },
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
      'instead of all; the batches of a step then run layer by layer, and hold the inputs of their layers; needs max_grad_norm: 0 (offload_gradients does not)',
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
  seed: integer({
    min: 0,
    default: 42,
    help: 'random seed of the order of the pairs, of eval_split, of a new adapter and its dropout, and of master_weights: stochastic',
  }),
  shuffle: boolean({ default: true, help: 'take the pairs in a new random order each epoch; false keeps their order' }),
};

/** The optimizers that use an option. */
const OPTIMIZERS_WITH = {
  adamBeta1: ['adamw_torch', 'adamw_bnb_8bit', 'lion_32bit'],
  adamBeta2: ['adamw_torch', 'adamw_bnb_8bit', 'lion_32bit'],
  adamEpsilon: ['adamw_torch', 'adamw_bnb_8bit'],
} as const;

type OptimizerConfig = Parsed<typeof optimizerFields> & { readonly masterWeights?: string | undefined };

/** Refuses settings of the optimizer that do not go together. */
export const checkOptimizer = (config: OptimizerConfig, name: Naming): Problem[] => [
  ...checkOffload(config, name),
  ...checkInBackward(config, name),
  ...checkSharding(config, name),
  ...checkOptions(config, name),
];

function checkOffload(config: OptimizerConfig, name: Naming): Problem[] {
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
  return [];
}

/** Refuses sharding with settings whose updates need whole tensors, or gradients at another time. */
function checkSharding(config: OptimizerConfig, name: Naming): Problem[] {
  const refuse = (field: Problem['field'], value: string, hint: string): Problem[] => {
    const expected = `none with ${name(field)}${value}`;
    return [{ field: 'sharding', expected, found: config.sharding, hint }];
  };
  if (config.sharding === 'none') return [];
  if (config.optim === 'adafactor')
    return refuse('optim', ' adafactor', 'Its updates read whole weights. Use another.');
  if (config.masterWeights === 'stochastic') {
    const hint =
      'Stochastic rounding depends on the place of a value in its weight, which is updated in parts. Use exact.';
    return refuse('masterWeights', ' stochastic', hint);
  }
  if (config.optimizerInBwd) return refuse('optimizerInBwd', '', 'Gradients are summed after the backward pass.');
  if (config.offloadGradients !== 'none') {
    return refuse('offloadGradients', ' cpu', 'Gradients are summed where they were computed.');
  }
  return [];
}

/** Refuses options of other optimizers, which would change nothing. A run's own file of its configuration has their defaults. */
function checkOptions(config: OptimizerConfig, name: Naming): Problem[] {
  const fields = Object.keys(OPTIMIZERS_WITH) as (keyof typeof OPTIMIZERS_WITH)[];
  return fields.flatMap((field): Problem[] => {
    const users: readonly string[] = OPTIMIZERS_WITH[field];
    if (users.includes(config.optim) || config[field] === optimizerFields[field].default) return [];
    const expected = `no value with ${name('optim')} ${config.optim}`;
    return [{ field, expected, found: String(config[field]), hint: `It is an option of ${users.join(' and ')}.` }];
  });
}

function checkInBackward({ optimizerInBwd, maxGradNorm, offloadGradients }: OptimizerConfig, name: Naming): Problem[] {
  if (optimizerInBwd && offloadGradients !== 'none') {
    const expected = `none with ${name('optimizerInBwd')}`;
    const hint = 'It frees the gradients of a layer in the backward pass, so none are left to offload.';
    return [{ field: 'offloadGradients', expected, found: offloadGradients, hint }];
  }
  if (!optimizerInBwd || maxGradNorm === 0) return [];
  const expected = `0 with ${name('optimizerInBwd')}`;
  const hint = 'Clipping needs the norm of all gradients before the first update, so all would be held.';
  return [{ field: 'maxGradNorm', expected, found: String(maxGradNorm), hint }];
}
