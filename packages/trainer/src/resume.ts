import type { Json, StoredCheckpoint, TrainerState } from './checkpoint';
import { TrainingError } from './errors';
import type { NamedTensor, Optimizer } from './optimizer';
import type { Plan } from './plan';
import type { Policy } from './policy';
import type { TrainOptions } from './train';

/** What decides a run's weights, beside data, model and what the caller's fingerprint says. */
export function runFacts(options: TrainOptions, plan: Plan, warmupSteps: number): TrainerState['run'] {
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
export async function findState(options: TrainOptions, run: TrainerState['run']): Promise<TrainerState | null> {
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

/** A policy's weights as a checkpoint keeps them. */
export function* weightsOf(policy: Policy): Generator<NamedTensor> {
  for (const parameter of policy.parameters) yield { name: parameter.name, tensor: parameter.value() };
}

/** Puts policy and optimizer where the newest readable checkpoint has them, and returns its state. */
async function restore(
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
