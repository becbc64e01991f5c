import { breathe } from './breathe';
import { type CheckpointStore, type Json, restore, type TrainerState } from './checkpoint';
import { TrainingError } from './errors';
import { evaluate } from './evaluate';
import { addStep, emptyInterval, type MetricsRow, type MetricsSink, trainingRow } from './metrics';
import type { MicroBatch } from './micro-batch';
import type { NamedTensor, Optimizer } from './optimizer';
import { type PairLoss, wpoPairLoss } from './pair-loss';
import { type PairSource, pairAt } from './pairs';
import { type Cursor, epochAt, nextStep, type Plan, planSteps } from './plan';
import type { Policy } from './policy';
import { lookUpReference, type Reference } from './reference';
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
  /** Pairs of a micro-batch (`per_device_train_batch_size`); 1. */
  readonly batchSize?: number;
  /** 1. */
  readonly gradientAccumulationSteps?: number;
  /** `lr_scheduler_type`; linear. */
  readonly schedule?: ScheduleType;
  /** Share of all steps, rounded up; 0. */
  readonly warmupRatio?: number;
  /** Above 0, wins over `warmupRatio`. */
  readonly warmupSteps?: number;
  /** 1; 0 does not clip. */
  readonly maxGradNorm?: number;
  /** A metrics row each so many steps, and one at the end for what is left; 10. */
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
  readonly reference: Reference;
  /** `wpoPairLoss()`. */
  readonly loss?: PairLoss;
  /** Held-out pairs, run as `evalSteps` and `evalOnStart` say. */
  readonly evaluation?: { readonly pairs: PairSource; readonly reference: Reference; readonly batchSize?: number };
  readonly metrics?: MetricsSink;
  readonly checkpoints?: CheckpointStore;
  /** Goes on from the newest checkpoint, or from the beginning where there is none. */
  readonly resume?: boolean;
  /** Whatever else must be as it was for a resumed run to be the same run: the seed, the data's hash, beta, … */
  readonly fingerprint?: { readonly [key: string]: Json };
  readonly random?: RandomState;
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
 * @throws TrainingError where a loss or gradient is not finite, a checkpoint belongs to another run, or checkpoints lie
 *   where a new run would write; RangeError for an option out of range.
 */
export async function train(options: TrainOptions): Promise<TrainResult> {
  const { policy, optimizer, evaluation, metrics, checkpoints, signal, loss = wpoPairLoss() } = options;
  const { evalSteps = 0, loggingSteps = 10, saveSteps = 0, maxGradNorm = 1 } = options;
  const plan = planSteps({ ...options, pairs: options.pairs.length });
  const { totalSteps } = plan;
  const warmupSteps = warmupStepCount(totalSteps, options);
  const rate = schedule({ type: options.schedule ?? 'linear', totalSteps, warmupSteps });
  const draw = pairDrawer(options, plan);
  const run = runFacts(options, plan, warmupSteps);

  const from = (await findState(options, run)) ?? { ...freshState, evaluationDue: options.evalOnStart === true };
  let { step, cursor, tokens, rows, interval, evaluationDue } = from;
  let savedAt = step;
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

  for (let report: StepReport | undefined; ; ) {
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
    await breathe();
  }
  const stopped = step < totalSteps || (evaluationDue && evaluation !== undefined);
  return { step, totalSteps, epoch: epochAt(plan, cursor), tokens, stopped };
}

const freshState = { step: 0, cursor: { epoch: 0, pair: 0 }, tokens: 0, rows: 0, interval: emptyInterval };

/** What decides a run's weights, beside data, model and what the caller's fingerprint says. */
function runFacts(options: TrainOptions, plan: Plan, warmupSteps: number): TrainerState['run'] {
  return {
    pairs: plan.pairs,
    per_device_train_batch_size: plan.batchSize,
    gradient_accumulation_steps: plan.gradientAccumulationSteps,
    total_steps: plan.totalSteps,
    learning_rate: options.learningRate,
    lr_scheduler_type: options.schedule ?? 'linear',
    warmup_steps: warmupSteps,
    max_grad_norm: options.maxGradNorm ?? 1,
    ...options.fingerprint,
  };
}

/** The state to go on from, with policy and optimizer put there; null for a new run. */
async function findState(options: TrainOptions, run: TrainerState['run']): Promise<TrainerState | null> {
  const { policy, optimizer, checkpoints, resume = false, random, warn = console.warn } = options;
  if (resume && !checkpoints) throw new TrainingError('resume needs a place to resume from: give `checkpoints`');
  const found = (await checkpoints?.list()) ?? [];
  if (!resume && found.length > 0) {
    throw new TrainingError(
      `there is ${found[0]!.name} of an earlier run where this one would save: resume it, remove its checkpoints, or ` +
        'choose another output_dir.',
    );
  }
  if (found.length === 0) {
    if (resume) warn('there is no checkpoint to resume from: starting from the beginning');
    return null;
  }
  const state = await restore(found, policy, optimizer, run, warn);
  random?.load(state.random);
  return state;
}

function* weightsOf(policy: Policy): Generator<NamedTensor> {
  for (const parameter of policy.parameters) yield { name: parameter.name, tensor: parameter.value() };
}

/** Fetches the pairs of the step at a cursor, with their reference's log-probs. */
function pairDrawer({ pairs, order, reference }: TrainOptions, plan: Plan) {
  let epoch = -1;
  let indices: ArrayLike<number> = [];
  const at = (position: number) => (order ? indices[position]! : position);
  return async (cursor: Cursor): Promise<{ microBatches: MicroBatch[]; after: Cursor }> => {
    if (order && cursor.epoch !== epoch) {
      epoch = cursor.epoch;
      indices = order(epoch);
      if (indices.length !== plan.pairs) {
        throw new TrainingError(`the order of epoch ${epoch} has ${indices.length} entries for ${plan.pairs} pairs`);
      }
    }
    const { microBatches, after } = nextStep(plan, cursor);
    const batches: MicroBatch[] = [];
    for (const positions of microBatches) {
      const batch = positions.map(at);
      const drawn = batch.map((index) => pairAt(pairs, index));
      batches.push({ pairs: drawn, references: await lookUpReference(reference, batch, drawn) });
    }
    return { microBatches: batches, after };
  };
}
