import { TrainingError } from './errors';
import type { Interval } from './metrics';
import type { NamedTensor, Optimizer } from './optimizer';
import type { Cursor } from './plan';
import type { Policy } from './policy';

/** A value that JSON can hold. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/** All that a run is, beside its weights and its optimizer's tensors; plain JSON. */
export interface TrainerState {
  readonly version: 1;
  /** Optimizer steps done. */
  readonly step: number;
  readonly cursor: Cursor;
  /** Tokens seen. */
  readonly tokens: number;
  /** Metrics rows written, and the sums that the next one will be made of. */
  readonly rows: number;
  readonly interval: Interval;
  readonly optimizerStep: number;
  /** An evaluation was due at this step and has not been written. */
  readonly evaluationDue: boolean;
  /** What `RandomState.state` gave; null where there is none. */
  readonly random: Json;
  /** What a run must have in common with this one to go on from it. */
  readonly run: { readonly [key: string]: Json };
}

export interface Checkpoint {
  readonly state: TrainerState;
  /** Still their owners': each tensor is good until the next one is asked for. */
  readonly weights: Iterable<NamedTensor>;
  readonly optimizer: Iterable<NamedTensor>;
}

export interface StoredCheckpoint {
  /** Names it in warnings and errors. */
  readonly name: string;
  /** @throws where it is damaged. */
  open(): Promise<OpenCheckpoint>;
}

export interface OpenCheckpoint {
  readonly state: TrainerState;
  /** Each tensor is the caller's. */
  weights(): AsyncIterable<NamedTensor>;
  optimizer(): AsyncIterable<NamedTensor>;
}

/** Where checkpoints are kept. */
export interface CheckpointStore {
  /** Keeps a checkpoint whole or not at all. */
  save(checkpoint: Checkpoint): Promise<void>;
  /** Those that are there, newest first. */
  list(): Promise<readonly StoredCheckpoint[]>;
}

/** Puts policy and optimizer where the newest readable checkpoint has them, and returns its state. */
export async function restore(
  checkpoints: readonly StoredCheckpoint[],
  policy: Policy,
  optimizer: Optimizer,
  run: TrainerState['run'],
  warn: (message: string) => void,
): Promise<TrainerState> {
  const failures: string[] = [];
  for (const checkpoint of checkpoints) {
    try {
      const opened = await checkpoint.open();
      checkRun(checkpoint.name, opened.state.run, run);
      await loadWeights(policy, opened.weights());
      await optimizer.load({ step: opened.state.optimizerStep, tensors: opened.optimizer() });
      return opened.state;
    } catch (error) {
      if (error instanceof RunMismatch) throw error;
      failures.push(`${checkpoint.name}: ${error instanceof Error ? error.message : String(error)}`);
      warn(`cannot resume from ${failures.at(-1)}; passing it over`);
    }
  }
  throw new TrainingError(
    `none of the ${failures.length} checkpoints can be read:\n${failures.map((failure) => `  ${failure}`).join('\n')}\n` +
      'Put a whole one back, or start a new run.',
  );
}

class RunMismatch extends TrainingError {}

/** @throws where the run that made the checkpoint differs, naming each difference. */
function checkRun(name: string, before: TrainerState['run'], now: TrainerState['run']): void {
  const show = (value: Json | undefined) => (value === undefined ? 'nothing' : JSON.stringify(value));
  const different = [...new Set([...Object.keys(before), ...Object.keys(now)])]
    .filter((key) => JSON.stringify(before[key]) !== JSON.stringify(now[key]))
    .map((key) => `${key} was ${show(before[key])} and is now ${show(now[key])}`);
  if (different.length === 0) return;
  throw new RunMismatch(
    `cannot go on from ${name}, which another run made: ${different.join('; ')}. Set it back to resume, or start a new ` +
      'run in another folder.',
  );
}

/**
 * Replaces every parameter's value by the tensor of its name.
 *
 * @throws TrainingError for a tensor too many, one too few, or one of another shape.
 */
export async function loadWeights(
  policy: Policy,
  tensors: Iterable<NamedTensor> | AsyncIterable<NamedTensor>,
): Promise<void> {
  const missing = new Map(policy.parameters.map((parameter) => [parameter.name, parameter]));
  for await (const { name, tensor } of tensors) {
    const parameter = missing.get(name);
    if (!parameter || String(parameter.shape) !== String(tensor.shape)) {
      const found = `"${name}" of shape [${tensor.shape}]`;
      tensor.dispose();
      throw new TrainingError(
        parameter
          ? `the weights hold ${found}, and the model wants [${parameter.shape}]`
          : `the weights hold ${found}, which the model has no parameter for, or has been given already`,
      );
    }
    parameter.assign(tensor);
    missing.delete(name);
  }
  if (missing.size === 0) return;
  throw new TrainingError(
    `the weights lack ${missing.size} of the model's parameters: ${[...missing.keys()].slice(0, 5).join(', ')}` +
      (missing.size > 5 ? ', …' : ''),
  );
}
