import type { CheckpointStore, Json } from './checkpoint';
import { pairDrawer } from './draw';
import { TrainingError } from './errors';
import { evaluate } from './evaluate';
import { addStep, emptyInterval, type MetricsRow, type MetricsSink, trainingRow } from './metrics';
import type { Optimizer } from './optimizer';
import { type PairLoss, wpoPairLoss } from './pair-loss';
import type { PairSource } from './pairs';
import { epochAt, planSteps } from './plan';
import type { Policy } from './policy';
import { type Reference, referenceOf } from './reference';
import { rehearse } from './rehearse';
import { findState, runFacts, weightsOf } from './resume';
import { type ScheduleType, schedule, warmupStepCount } from './schedule';
import { type StepOptions, step as takeStep } from './step';
import type { StopSignal } from './stop-signal';

/** Numbers of a run, by the names that Hugging Face's TrainingArguments has for them. */
export interface TrainingOptions {
  /** Peak rate. */
  readonly learningRate: number;
  /** Passes over the pairs, fractions allowed (`num_train_epochs`); 1. */
  readonly epochs?: number;
  /** Above 0, wins over `epochs`. */
  readonly maxSteps?: number;
  /** Pairs of a micro-batch (`per_device_train_batch_size`), which a loss that ranks pairs ranks; 1. */
  readonly batchSize?: number;
  /** 1. */
  readonly gradientAccumulationSteps?: number;
  /**
   * Runs a step's pairs in packs of at most so many tokens, prompts counted once, whatever its micro-batches: fuller
   * products where pairs are short, the same gradient but for rounding. A longer pair goes by itself. Refused with a loss
   * that ranks the pairs run at once (`needsBatch`).
   */
  readonly maxTokensPerPack?: number;
  /** `lr_scheduler_type`; linear. */
  readonly schedule?: ScheduleType;
  /** Share of all steps, rounded up; 0. */
  readonly warmupRatio?: number;
  /** Above 0, wins over `warmupRatio`. */
  readonly warmupSteps?: number;
  /** 1; 0 does not clip. */
  readonly maxGradNorm?: number;
  /** A metrics row each so many steps, and one at the end for what is left; 10; 0 for none. */
  readonly loggingSteps?: number;
  /** An evaluation each so many steps and at the end; 0 for none. */
  readonly evalSteps?: number;
  /** An evaluation before the first step (`eval_on_start`); false. */
  readonly evalOnStart?: boolean;
  /** A checkpoint each so many steps; one is made at the end and at a stop in any case. */
  readonly saveSteps?: number;
}

/** Random numbers drawn while training, by a sampler or a model: saved, so that a resumed run goes on drawing them. */
export interface RandomState {
  state(): Json;
  load(state: Json): void;
}

export interface TrainOptions extends TrainingOptions {
  readonly policy: Policy;
  readonly optimizer: Optimizer;
  readonly pairs: PairSource;
  /** Each epoch's order of the pairs' indices, the same at every call for an epoch; as they come. */
  readonly order?: (epoch: number) => ArrayLike<number>;
  /** May be absent where the loss looks at none (`needsReference` is false). */
  readonly reference?: Reference;
  /** `wpoPairLoss()`. */
  readonly loss?: PairLoss;
  /** Held-out pairs, run as `evalSteps` and `evalOnStart` say. */
  readonly evaluation?: { readonly pairs: PairSource; readonly reference?: Reference; readonly batchSize?: number };
  readonly metrics?: MetricsSink;
  readonly checkpoints?: CheckpointStore;
  /** Goes on from the newest checkpoint, or from the beginning where there is none. */
  readonly resume?: boolean;
  /** Whatever else must be as it was for a resumed run to be the same run: the seed, the data's hash, beta, … */
  readonly fingerprint?: { readonly [key: string]: Json };
  readonly random?: RandomState;
  /** Runs the longest pairs there and back before the first step: memory that is not enough is found out then. False. */
  readonly rehearse?: boolean;
  /** Once aborted, the step being made is finished and saved, and the run returns. */
  readonly signal?: StopSignal;
  /** Called after each step, once its metrics and checkpoint are written. */
  readonly onStep?: (report: StepReport) => void | Promise<void>;
  /** Called with each evaluation's row as it is written. */
  readonly onEvaluation?: (row: MetricsRow) => void | Promise<void>;
  readonly warn?: (message: string) => void;
  readonly exchange?: StepOptions['exchange'];
  readonly norm?: StepOptions['norm'];
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
  /** Whether the signal ended it before its last step. */
  readonly stopped: boolean;
}

/**
 * Trains a policy on preference pairs: step, log, evaluate, save, until the planned steps are done or the signal stops
 * it. A run that was stopped or killed and is resumed has the same weights and the same metrics, times apart, bit for
 * bit, as one that never was, given a backend that computes the same twice.
 *
 * @throws TrainingError where the loss does not go with other options, a loss or gradient is not finite, a checkpoint
 *   belongs to another run, or checkpoints lie where a new run would write; RangeError for an option out of range.
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
  const draw = pairDrawer({ ...options, reference }, plan);
  const run = runFacts(options, plan, warmupSteps);

  const from = (await findState(options, run)) ?? { ...freshState, evaluationDue: options.evalOnStart === true };
  let { step, cursor, tokens, rows, interval, evaluationDue } = from;
  let savedAt = step;
  if (options.rehearse && step < totalSteps) await rehearse({ ...options, loss, reference });
  await metrics?.rewind?.(rows);

  const due = (every: number) => every > 0 && (step % every === 0 || step === totalSteps);
  const write = async (row: MetricsRow) => {
    await metrics?.write(row);
    rows += 1;
  };
  const save = async () => {
    const { step: optimizerStep, tensors } = optimizer.state();
    const random = options.random?.state() ?? null;
    const state = {
      version: 1,
      step,
      cursor,
      tokens,
      rows,
      interval,
      optimizerStep,
      evaluationDue,
      random,
      run,
    } as const;
    await checkpoints?.save({ state, weights: weightsOf(policy), optimizer: tensors });
    savedAt = step;
  };

  let report: StepReport | undefined;
  while (true) {
    if (evaluationDue && evaluation) {
      const found = await evaluate({ policy, loss, signal, ...evaluation });
      evaluationDue = found === null;
      if (found) {
        const row = { step, epoch: epochAt(plan, cursor), ...found };
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
    const { microBatches, after } = await draw(cursor);
    const { exchange, norm } = options;
    const next = { policy, optimizer, loss, microBatches, learningRate, maxGradNorm, step: step + 1, exchange, norm };
    const result = await takeStep(next);
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

/** @throws TrainingError where the loss looks at what there is not, or packs would cut the batch that it ranks. */
function checkLoss(loss: PairLoss, { maxTokensPerPack, evaluation }: TrainOptions): void {
  if (evaluation) referenceOf(loss, evaluation.reference);
  if (!loss.needsBatch || !maxTokensPerPack) return;
  throw new TrainingError(
    `maxTokensPerPack is ${maxTokensPerPack}, but the loss ranks the pairs of a micro-batch among each other: cut into packs, ` +
      'others would meet, and the loss would be another. Leave maxTokensPerPack out.',
  );
}

function checkOptions(
  options: { [name in 'learningRate' | 'maxGradNorm' | 'loggingSteps' | 'evalSteps' | 'saveSteps']: number },
) {
  for (const [name, value] of Object.entries(options)) {
    if (!(value >= 0)) throw new RangeError(`${name} must be a number, 0 or more, found ${value}`);
    if (name.endsWith('Steps') && !Number.isInteger(value)) {
      throw new RangeError(`${name} must be a whole number of steps, found ${value}`);
    }
  }
}

const freshState = { step: 0, cursor: { epoch: 0, pair: 0 }, tokens: 0, rows: 0, interval: emptyInterval };
