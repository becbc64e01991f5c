import { describe } from '@wpo/internal/describe';
import type { Plan } from './batches';
import type { BestModel } from './best-model';
import type { CollapseState } from './collapse';
import { TrainingError } from './errors';
import { type Group, soloGroup } from './group';
import type { Interval, MetricsRow } from './metrics';
import type { Optimizer } from './optimizer';
import type { Parameter, Policy } from './policy';
import { dividesState, type Sharding, shardOfState } from './sharding';
import { isTensor, loadStored, readSaved, type SavedTensor } from './values';

/** A value that JSON can hold. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/** The state of a run without its weights and the optimizer's tensors, as plain JSON. */
export interface TrainerState {
  readonly version: 1;
  /** Optimizer steps done. */
  readonly step: number;
  /** Tokens seen. */
  readonly tokens: number;
  /** All metrics rows written (Hugging Face's `log_history`), and the sums of the next row. */
  readonly log: readonly MetricsRow[];
  readonly interval: Interval;
  readonly optimizerStep: number;
  /** An evaluation was due at this step and has not been written. */
  readonly evaluationDue: boolean;
  /** Steps left out because a loss or gradient was not finite. */
  readonly skippedSteps: number;
  /** The best checkpoint so far; null before its evaluation, and unless `loadBestModelAtEnd` is set. */
  readonly best: BestModel | null;
  readonly health: CollapseState;
  /** The weights after this step, and those before, were judged healthy. */
  readonly healthyUpTo: number;
  /** The newest earlier checkpoint with a step up to `healthyUpTo`; null where there is none. */
  readonly goodStep: number | null;
  /** The value of `RandomState.state`; null where there is none. */
  readonly random: Json;
  /** The settings that a resumed run must share with this one. */
  readonly run: { readonly [key: string]: Json };
}

export interface Checkpoint {
  readonly state: TrainerState;
  /** Can be read until `save` returns. */
  readonly weights: Iterable<SavedTensor>;
  readonly optimizer: Iterable<SavedTensor>;
  /** Steps of earlier checkpoints that must not be deleted, e.g. the best one. */
  readonly keep?: readonly number[];
}

export interface StoredCheckpoint {
  readonly step: number;
  /** Names it in warnings and errors. */
  readonly name: string;
  /** @throws where it is damaged. */
  open(): Promise<OpenCheckpoint>;
}

export interface OpenCheckpoint {
  readonly state: TrainerState;
  /** Each tensor can be read until the next one is requested. */
  weights(): AsyncIterable<SavedTensor>;
  optimizer(): AsyncIterable<SavedTensor>;
}

/** Where checkpoints are stored. */
export interface CheckpointStore {
  /** Stores a checkpoint completely or not at all. */
  save(checkpoint: Checkpoint): Promise<void>;
  /** The stored checkpoints, newest first. */
  list(): Promise<readonly StoredCheckpoint[]>;
}

export interface RestoreOptions {
  readonly policy: Policy;
  readonly optimizer: Optimizer;
  readonly checkpoints?: CheckpointStore;
  readonly resume?: boolean;
  readonly random?: { load(state: Json): void };
  readonly group?: Group;
  readonly sharding?: Sharding;
  readonly warn: (message: string) => void;
}

/**
 * Restores policy and optimizer from the newest readable checkpoint and returns its state; null for a new run.
 *
 * @param run the settings that the checkpoint's run must share.
 */
export async function restoreState(options: RestoreOptions, run: TrainerState['run']): Promise<TrainerState | null> {
  const { policy, optimizer, checkpoints, resume = false, random, warn } = options;
  const { group = soloGroup } = options;
  if (resume && !checkpoints) throw new TrainingError('resume: expected `checkpoints` to resume from, found none.');
  const stored = (await checkpoints?.list()) ?? [];
  if (!resume && stored.length > 0) {
    throw new TrainingError(
      `${stored[0]!.name}: expected no checkpoint of an earlier run in the output directory, found this one. Resume that run, ` +
        'remove its checkpoints, or choose another output_dir.',
    );
  }
  if (stored.length === 0) {
    if (resume) warn('no checkpoint to resume from: training starts from the beginning');
    return null;
  }
  const failures: string[] = [];
  for (const checkpoint of stored) {
    try {
      const opened = await checkpoint.open();
      const changes = checkRun(checkpoint.name, opened.state.run, run);
      await loadWeights(policy, opened.weights());
      const optimizerState = { step: opened.state.optimizerStep, tensors: opened.optimizer() };
      const { parameters } = policy;
      if (dividesState(options)) await optimizer.load(...shardOfState(optimizerState, parameters, group));
      else await optimizer.load(optimizerState, parameters);
      random?.load(opened.state.random);
      if (changes.length > 0) warn(`resuming from ${checkpoint.name} with other settings: ${changes.join('; ')}`);
      return opened.state;
    } catch (error) {
      if (error instanceof RunMismatch) throw error;
      failures.push(`${checkpoint.name}: ${error instanceof Error ? error.message : String(error)}`);
      warn(`cannot resume from ${failures.at(-1)}; trying the checkpoint before it`);
    }
  }
  throw new TrainingError(
    `resume: expected a readable checkpoint, found ${failures.length} damaged ones:\n` +
      `${failures.map((failure) => `  ${failure}`).join('\n')}\nRestore one of them, or start a new run.`,
  );
}

/** Gives the policy the weights of the checkpoint of a step. @throws where it is missing or damaged. */
export async function loadCheckpointWeights(
  policy: Policy,
  checkpoints: CheckpointStore | undefined,
  step: number,
): Promise<void> {
  const stored = (await checkpoints?.list())?.find((checkpoint) => checkpoint.step === step);
  if (!stored) throw new TrainingError(`checkpoint of step ${step}: expected it beside the others, found none.`);
  const opened = await stored.open();
  await loadWeights(policy, opened.weights());
}

class RunMismatch extends TrainingError {}

/** Settings that a resumed run may change, and how. */
const CHANGEABLE: Readonly<Record<string, { readonly how: string; allows(before: Json, now: Json): boolean }>> = {
  total_steps: { how: 'may only be raised', allows: (before, now) => Number(now) > Number(before) },
  learning_rate: { how: 'may only be lowered', allows: (before, now) => Number(now) < Number(before) },
};

/**
 * Compares the settings of a checkpoint's run with those of the run that resumes it.
 *
 * @returns the changes, all of which are allowed
 * @throws where others changed, naming each
 */
function checkRun(name: string, before: TrainerState['run'], now: TrainerState['run']): string[] {
  const show = (value: Json | undefined) => describe(value);
  const differs = (key: string) => JSON.stringify(before[key]) !== JSON.stringify(now[key]);
  const keys = [...new Set([...Object.keys(before), ...Object.keys(now)])].filter(differs);
  const follows = (key: string) => key === 'warmup_steps' && differs('total_steps'); // a share of the steps
  const refused = keys.filter((key) => !follows(key) && !CHANGEABLE[key]?.allows(before[key]!, now[key]!));
  if (refused.length === 0) return keys.map((key) => `${key}: ${show(before[key])} → ${show(now[key])}`);
  const differences = refused.map((key) => {
    const how = CHANGEABLE[key] ? ` (it ${CHANGEABLE[key].how})` : '';
    return `${key}: expected ${show(before[key])}, found ${show(now[key])}${how}`;
  });
  throw new RunMismatch(
    `cannot resume from ${name}, because a run with other settings made it: ${differences.join('; ')}. Restore these settings, ` +
      'or start a new run in another folder.',
  );
}

/** The settings that decide a run's weights, in addition to the data, the model and the caller's fingerprint. */
export function runSettings(
  options: {
    readonly learningRate: number;
    readonly schedule?: string;
    readonly maxGradNorm?: number;
    readonly optimizerInBackward?: boolean;
    readonly fingerprint?: { readonly [key: string]: Json };
  },
  plan: Plan,
  warmupSteps: number,
): TrainerState['run'] {
  return {
    pairs: plan.pairs,
    per_device_train_batch_size: plan.batchSize,
    gradient_accumulation_steps: plan.gradientAccumulationSteps,
    total_steps: plan.totalSteps,
    learning_rate: options.learningRate,
    lr_scheduler_type: options.schedule ?? 'linear',
    warmup_steps: warmupSteps,
    max_grad_norm: options.maxGradNorm ?? 1,
    optimizer_in_bwd: options.optimizerInBackward ?? false,
    ...options.fingerprint,
  };
}

/**
 * Replaces every parameter's value by the saved tensor of its name.
 *
 * @throws TrainingError where a tensor is unknown, missing, or of another shape.
 */
export async function loadWeights(
  policy: Policy,
  tensors: Iterable<SavedTensor> | AsyncIterable<SavedTensor>,
): Promise<void> {
  const missing = new Map(policy.parameters.map((parameter) => [parameter.name, parameter]));
  for await (const saved of tensors) {
    const { name } = saved;
    const parameter = missing.get(name);
    if (!parameter || String(parameter.shape) !== String(saved.shape)) {
      const found = `[${saved.shape}]`;
      throw new TrainingError(
        parameter
          ? `weights: "${name}": expected shape [${parameter.shape}], found ${found}`
          : `weights: expected each parameter of the model once, found "${name}" of shape ${found}, which is unknown or a repeat`,
      );
    }
    if (saved.type === 'U8') throw new TrainingError(`weights: "${name}": expected type F32 or BF16, found U8`);
    await loadValue(parameter, saved);
    missing.delete(name);
  }
  if (missing.size === 0) return;
  const names = [...missing.keys()].slice(0, 5).join(', ');
  throw new TrainingError(
    `weights: expected all parameters of the model, but ${missing.size} are missing: ${names}${missing.size > 5 ? ', …' : ''}`,
  );
}

async function loadValue(parameter: Parameter, saved: SavedTensor): Promise<void> {
  const value = parameter.value();
  if (isTensor(value)) parameter.assign(await readSaved(saved));
  else await loadStored(value, saved);
}
