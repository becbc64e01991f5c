import { batchLoader, epochAt, planSteps } from './batches';
import { type CheckpointStore, type Json, restoreState, runSettings, weightsOf } from './checkpoint';
import { TrainingError } from './errors';
import { evaluate } from './evaluate';
import type { StopSignal } from './event-loop';
import { addStep, emptyInterval, type MetricsRow, type MetricsSink, trainingRow } from './metrics';
import type { Optimizer } from './optimizer';
import { type PairLoss, wpoPairLoss } from './pair-loss';
import type { PairSource, Policy } from './policy';
import { preflight } from './preflight';
import { type Reference, referenceOf } from './reference';
import { type ScheduleType, schedule, warmupStepCount } from './schedule';
import { type StepOptions, step as takeStep } from './step';

/** The numbers of a run. Names in parentheses are those of Hugging Face's TrainingArguments. */
export interface TrainingOptions {
  /** The peak learning rate. */
  readonly learningRate: number;
  /** Passes over the pairs (`num_train_epochs`); fractions are allowed. Default 1. */
  readonly epochs?: number;
  /** Above 0 it overrides `epochs`. */
  readonly maxSteps?: number;
  /** Pairs of a micro-batch (`per_device_train_batch_size`). A loss with `needsBatch` ranks these. Default 1. */
  readonly batchSize?: number;
  /** Micro-batches of a step. Default 1. */
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
  /** Writes a metrics row every `loggingSteps` steps, and one at the end for the rest. 0 writes none. Default 10. */
  readonly loggingSteps?: number;
  /** Evaluates every `evalSteps` steps and at the end. 0, the default, does not evaluate. */
  readonly evalSteps?: number;
  /** Evaluates before the first step (`eval_on_start`). Default false. */
  readonly evalOnStart?: boolean;
  /** Saves a checkpoint every `saveSteps` steps. One is saved at the end and at a stop in any case. */
  readonly saveSteps?: number;
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
  readonly checkpoints?: CheckpointStore;
  /** Continues from the newest checkpoint, or starts from the beginning where there is none. */
  readonly resume?: boolean;
  /** Everything else that a resumed run must share: the seed, the data's hash, beta, … */
  readonly fingerprint?: { readonly [key: string]: Json };
  readonly random?: RandomState;
  /** Runs the longest micro-batch once before the first step, to find out early whether memory suffices. Default false. */
  readonly preflight?: boolean;
  /** Once aborted, the current step is finished and saved, and the run returns. */
  readonly signal?: StopSignal;
  /** Called after each step, once its metrics and checkpoint are written. */
  readonly onStep?: (report: StepReport) => void | Promise<void>;
  /** Called with the row of each evaluation once it is written. */
  readonly onEvaluation?: (row: MetricsRow) => void | Promise<void>;
  readonly warn?: (message: string) => void;
  readonly allReduceGradients?: StepOptions['allReduceGradients'];
  readonly computeNorm?: StepOptions['computeNorm'];
}

export interface StepReport {
  readonly step: number;
  readonly totalSteps: number;
  /** This step's numbers, named as in `metrics.jsonl`. */
  readonly metrics: MetricsRow;
}

export interface TrainResult {
  /** Steps done, those before a resume included. */
  readonly step: number;
  readonly totalSteps: number;
  readonly epoch: number;
  /** Tokens seen. */
  readonly tokens: number;
  /** Whether the signal ended the run early. */
  readonly stopped: boolean;
}

/**
 * Trains a policy on preference pairs: step, log, evaluate, save, until all planned steps are done or the signal stops the run.
 * A run that was stopped or killed and then resumed has the same weights and metrics (except times), bit for bit, as one that
 * never stopped, provided that the backend computes the same bits twice.
 *
 * @throws TrainingError where the loss contradicts other options, a loss or gradient is not finite, a checkpoint belongs to
 *   another run, or a new run would overwrite checkpoints; RangeError for an option out of range.
 */
export async function train(options: TrainOptions): Promise<TrainResult> {
  const { policy, optimizer, evaluation, metrics, checkpoints, signal, loss = wpoPairLoss() } = options;
  const { evalSteps = 0, loggingSteps = 10, saveSteps = 0, maxGradNorm = 1 } = options;
  checkOptions({ learningRate: options.learningRate, maxGradNorm, loggingSteps, evalSteps, saveSteps });
  checkLoss(loss, options);
  const plan = planSteps({ ...options, pairs: options.pairs.length });
  const { totalSteps } = plan;
  const warmupSteps = warmupStepCount(totalSteps, options);
  const rate = schedule({ type: options.schedule ?? 'linear', totalSteps, warmupSteps });
  const reference = referenceOf(loss, options.reference);
  const loadBatches = batchLoader({ ...options, reference }, plan);
  const run = runSettings(options, plan, warmupSteps);

  const initial = (await restoreState(options, run)) ?? { ...freshState, evaluationDue: options.evalOnStart === true };
  let { step, cursor, tokens, rows, interval, evaluationDue } = initial;
  let savedAt = step;
  if (options.preflight && step < totalSteps) await preflight({ ...options, loss, reference });
  await metrics?.rewind?.(rows);

  const due = (every: number) => every > 0 && (step % every === 0 || step === totalSteps);
  const write = async (row: MetricsRow) => {
    await metrics?.write(row);
    rows += 1;
  };
  const save = async () => {
    const { step: optimizerStep, tensors } = optimizer.state();
    const random = options.random?.state() ?? null;
    const position = { step, cursor, tokens, rows, interval, evaluationDue };
    const state = { version: 1, ...position, optimizerStep, random, run } as const;
    await checkpoints?.save({ state, weights: weightsOf(policy), optimizer: tensors });
    savedAt = step;
  };

  let report: StepReport | undefined;
  while (true) {
    if (evaluationDue && evaluation) {
      const means = await evaluate({ policy, loss, signal, ...evaluation });
      evaluationDue = means === null;
      if (means) {
        const row = { step, epoch: epochAt(plan, cursor), ...means };
        await write(row);
        await options.onEvaluation?.(row);
      }
    }
    if (savedAt < step && (due(saveSteps) || step === totalSteps)) await save();
    if (report) await options.onStep?.(report);
    if (step >= totalSteps) break;
    if (signal?.aborted) {
      if (savedAt < step) await save();
      break;
    }

    const started = performance.now();
    const learningRate = options.learningRate * rate(step);
    const { microBatches, after } = await loadBatches(cursor);
    const { allReduceGradients, computeNorm } = options;
    const settings = { learningRate, maxGradNorm, step: step + 1, allReduceGradients, computeNorm };
    const result = await takeStep({ policy, optimizer, loss, microBatches, ...settings });
    const seconds = (performance.now() - started) / 1000;

    step += 1;
    cursor = after;
    tokens += result.pairs.reduce((total, pair) => total + pair.tokens, 0);
    interval = addStep(interval, result, seconds);
    const context = { step, epoch: epochAt(plan, cursor), gradNorm: result.gradNorm, learningRate, tokens };
    report = { step, totalSteps, metrics: trainingRow(addStep(emptyInterval, result, seconds), context) };
    if (due(loggingSteps)) {
      await write(trainingRow(interval, context));
      interval = emptyInterval;
    }
    evaluationDue = evaluation !== undefined && due(evalSteps);
  }
  const stopped = step < totalSteps || (evaluationDue && evaluation !== undefined);
  return { step, totalSteps, epoch: epochAt(plan, cursor), tokens, stopped };
}

const freshState = { step: 0, cursor: { epoch: 0, pair: 0 }, tokens: 0, rows: 0, interval: emptyInterval };

/** @throws TrainingError where the loss lacks its reference, or packs would divide the batch that it ranks. */
function checkLoss(loss: PairLoss, { maxTokensPerPack, evaluation }: TrainOptions): void {
  if (evaluation) referenceOf(loss, evaluation.reference);
  if (!loss.needsBatch || !maxTokensPerPack) return;
  throw new TrainingError(
    `maxTokensPerPack: expected none with a loss that ranks the pairs of a micro-batch, found ${maxTokensPerPack}. Packs ` +
      'would rank other pairs against each other. Remove maxTokensPerPack.',
  );
}

function checkOptions(
  options: { [name in 'learningRate' | 'maxGradNorm' | 'loggingSteps' | 'evalSteps' | 'saveSteps']: number },
) {
  for (const [name, value] of Object.entries(options)) {
    if (!(value >= 0)) throw new RangeError(`${name}: expected a number of at least 0, found ${value}`);
    if (name.endsWith('Steps') && !Number.isInteger(value)) {
      throw new RangeError(`${name}: expected an integer, found ${value}`);
    }
  }
}
