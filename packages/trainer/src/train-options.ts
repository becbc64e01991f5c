import { describe } from '@wpo/internal/describe';
import type { BestModelOptions } from './best-model';
import { checkNumber } from './check-number';
import type { CheckpointStore, Json } from './checkpoint';
import { TrainingError } from './errors';
import { checkHeldOut } from './evaluate';
import type { StopSignal } from './event-loop';
import type { MetricsSink } from './metrics';
import type { Optimizer } from './optimizer';
import type { PairLog } from './pair-log';
import type { PairLoss } from './pair-loss';
import type { PairSource, Policy } from './policy';
import { type Reference, referenceOf } from './reference';
import type { ScheduleType } from './schedule';
import { SHARDINGS, type Sharding } from './sharding';
import type { StepOptions } from './step-options';

/** The numbers of a run. Names in parentheses are those of Hugging Face's TrainingArguments. */
export interface TrainingOptions extends BestModelOptions {
  /** The peak learning rate, above 0 and at most 1. */
  readonly learningRate: number;
  /** Passes over the pairs (`num_train_epochs`); fractions are allowed. Default 1. */
  readonly epochs?: number;
  /** Above 0 it overrides `epochs`. */
  readonly maxSteps?: number;
  /** Pairs of a micro-batch (`per_device_train_batch_size`). A loss with `needsBatch` ranks these. Default 1. */
  readonly batchSize?: number;
  /** Micro-batches of a step, of all processes together. Default 1. */
  readonly gradientAccumulationSteps?: number;
  /**
   * Packs a step's pairs into forward passes of at most this number of tokens, instead of one pass per micro-batch. A prompt
   * counts once. Short pairs then run faster, and the gradient differs by rounding only. A longer pair runs alone. Not allowed
   * with a loss that ranks pairs (`needsBatch`).
   */
  readonly maxTokensPerPack?: number;
  /** `lr_scheduler_type`. Default linear. */
  readonly schedule?: ScheduleType;
  /** The fraction of all steps with a rising learning rate, rounded up to steps. Default 0. */
  readonly warmupRatio?: number;
  /** Above 0 it overrides `warmupRatio`. */
  readonly warmupSteps?: number;
  /** Default 1; 0 does not clip. */
  readonly maxGradNorm?: number;
  /**
   * Updates each block of the model in the backward pass and frees its gradients (torchtune's `optimizer_in_bwd`). The micro-batches of a step
   * then run layer by layer. Needs `maxGradNorm` 0. Default false.
   */
  readonly optimizerInBackward?: boolean;
  /** Writes a metrics row every `loggingSteps` steps, and one at the end for the rest. 0 writes none. Default 10. */
  readonly loggingSteps?: number;
  /** Evaluates every `evalSteps` steps and at the end. 0, the default, does not evaluate. */
  readonly evalSteps?: number;
  /** Evaluates before the first step (`eval_on_start`). Default false. */
  readonly evalOnStart?: boolean;
  /** Saves a checkpoint every `saveSteps` steps. One is saved at the end and at a stop in any case. */
  readonly saveSteps?: number;
  /**
   * `load_best_model_at_end`: once all steps are done, gives the policy the weights of the checkpoint with the best evaluation.
   * Needs `evaluation`, `checkpoints`, and `saveSteps` a multiple of `evalSteps`. Default false.
   */
  readonly loadBestModelAtEnd?: boolean;
  /**
   * Leaves out at most this number of steps of the run whose loss or gradient is not finite. Their pairs are not used, and the next
   * such step stops the run. Default 0.
   */
  readonly skipNonfinite?: number;
  /**
   * Ends the run once the model has collapsed, with the weights of the last checkpoint before. `collapse.ts` has the criterion.
   * Default false, which warns only.
   */
  readonly stopOnCollapse?: boolean;
}

/** Random numbers drawn during training, by a sampler or a model. Their state is saved, so that a resumed run draws the same. */
export interface RandomState {
  state(): Json;
  load(state: Json): void;
}

export interface TrainOptions extends TrainingOptions {
  readonly policy: Policy;
  readonly optimizer: Optimizer;
  readonly pairs: PairSource;
  /** The order of the pairs' indices in an epoch; it must be the same at every call for an epoch. Default: as given. */
  readonly order?: (epoch: number) => ArrayLike<number>;
  /** May be absent where the loss needs none (`needsReference` is false). */
  readonly reference?: Reference;
  /** Default `wpoPairLoss()`. */
  readonly loss?: PairLoss;
  /** Held-out pairs, evaluated as `evalSteps` and `evalOnStart` say. */
  readonly evaluation?: { readonly pairs: PairSource; readonly reference?: Reference; readonly batchSize?: number };
  readonly metrics?: MetricsSink;
  /** Receives the results of single pairs: of every step, or of every n-th step of a run of more than `MAX_PAIR_ROWS`. */
  readonly pairLog?: PairLog;
  /** Measures the memory in use, in bytes, for the metrics. */
  readonly usedMemory?: () => number;
  readonly checkpoints?: CheckpointStore;
  /** Continues from the newest checkpoint, or starts from the beginning where there is none. */
  readonly resume?: boolean;
  /** Everything else that a resumed run must share: the seed, the data's hash, beta, … */
  readonly fingerprint?: { readonly [key: string]: Json };
  readonly random?: RandomState;
  /** Runs the longest passes once before the first step, to find out early whether memory suffices. Default false. */
  readonly preflight?: boolean;
  /**
   * Once aborted, the run saves and returns after the current micro-batch. A step that is not complete is given up, or completed if it has
   * updated weights (`optimizerInBackward`).
   */
  readonly signal?: StopSignal;
  /**
   * The processes of the run. They divide the micro-batches of each step among them, so that their number changes a run by rounding only.
   * All have the same options. Only rank 0 uses `metrics` and `pairLog` and saves checkpoints, which all must be able to read. All must see
   * `signal` aborted between the same two collectives of the group. Default: this process alone.
   */
  readonly group?: StepOptions['group'];
  readonly computeNorm?: StepOptions['computeNorm'];
  readonly offloadGradients?: StepOptions['offloadGradients'];
  readonly sharding?: StepOptions['sharding'];
}

/**
 * Checks the options that contradict each other or are out of range, before any pair runs.
 *
 * @throws TrainingError, or RangeError for a number out of range.
 */
export function checkTrainOptions(options: TrainOptions, loss: PairLoss): void {
  const { evaluation, maxTokensPerPack } = options;
  if (options.policy.parameters.length === 0) {
    throw new TrainingError(
      'policy: expected at least one parameter to train, found none. Load its weights as trainable, or give the model an adapter.',
    );
  }
  for (const name of NUMBERS) if (options[name] !== undefined) checkNumber(name, options[name]);
  if (evaluation) {
    checkHeldOut(evaluation.pairs);
    if (evaluation.batchSize !== undefined) checkNumber('batchSize', evaluation.batchSize);
    referenceOf(loss, evaluation.reference);
  }
  if (loss.needsBatch && maxTokensPerPack) {
    throw new TrainingError(
      `maxTokensPerPack: expected none with a loss that ranks the pairs of a micro-batch, found ${maxTokensPerPack}. Packs ` +
        'would rank other pairs against each other. Remove maxTokensPerPack.',
    );
  }
  if (options.optimizerInBackward) checkOptimizerInBackward(options);
  if (options.offloadGradients) checkOffloadGradients(options);
  if (options.sharding !== undefined) checkSharding(options.sharding, options);
  if (options.loadBestModelAtEnd) checkBestModel(options);
}

function checkOptimizerInBackward({ policy, maxGradNorm = 1 }: TrainOptions): void {
  if (maxGradNorm !== 0) {
    throw new TrainingError(
      `optimizerInBackward: expected maxGradNorm 0 with it, found ${maxGradNorm}. Clipping needs the norm of all gradients before the ` +
        'first update. Set maxGradNorm to 0, or leave optimizerInBackward out.',
    );
  }
  if (policy.forwardPacks) return;
  throw new TrainingError(
    'optimizerInBackward: expected a policy with `forwardPacks`, found one without. Leave optimizerInBackward out.',
  );
}

function checkOffloadGradients({ policy, optimizerInBackward }: TrainOptions): void {
  if (optimizerInBackward) {
    throw new TrainingError(
      'offloadGradients: expected none with optimizerInBackward, which frees gradients in the backward pass. Leave one of them out.',
    );
  }
  if (policy.forwardPacks) return;
  throw new TrainingError(
    'offloadGradients: expected a policy with `forwardPacks`, found one without. Leave offloadGradients out.',
  );
}

function checkSharding(sharding: Sharding, { optimizerInBackward, offloadGradients }: TrainOptions): void {
  if (!SHARDINGS.includes(sharding)) {
    throw new TrainingError(`sharding: expected ${SHARDINGS.join(' or ')}, found ${describe(sharding)}.`);
  }
  if (sharding === 'none') return;
  const found = optimizerInBackward ? 'optimizerInBackward' : offloadGradients && 'offloadGradients';
  if (!found) return;
  throw new TrainingError(
    `sharding: zero1: expected neither optimizerInBackward nor offloadGradients with it, found ${found}. Leave one of them out.`,
  );
}

function checkBestModel({ evaluation, checkpoints, evalSteps = 0, saveSteps = 0 }: TrainOptions): void {
  const refuse: (expected: string, found: string) => never = (expected, found) => {
    throw new TrainingError(`loadBestModelAtEnd: expected ${expected} with it, found ${found}.`);
  };
  if (!evaluation) refuse('held-out pairs in `evaluation`', 'none');
  if (!checkpoints) refuse('`checkpoints`', 'none');
  if (evalSteps < 1) refuse('evalSteps of at least 1', String(evalSteps));
  if (saveSteps < 1 || saveSteps % evalSteps !== 0) {
    refuse(`saveSteps, the steps that can be loaded, to be a multiple of evalSteps ${evalSteps}`, String(saveSteps));
  }
}

/** `planSteps` and `warmupStepCount` check the others. */
const NUMBERS = [
  'learningRate',
  'maxTokensPerPack',
  'maxGradNorm',
  'loggingSteps',
  'evalSteps',
  'saveSteps',
  'skipNonfinite',
] as const;
