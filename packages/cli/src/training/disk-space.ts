import { readdir } from 'node:fs/promises';
import { formatBytes, requireFreeSpace } from '@wpo/internal/node/write-errors';
import { planSteps, type RuleOptimizer, savedBytes, savedTensor } from '@wpo/trainer';
import type { LoadedModel } from '../models';
import { batchesPerStep, type TrainConfig } from '../schemas/train';
import type { RunFolder } from './run-folder';

/**
 * Checks that the disk has space for everything that a run writes, before it starts: the checkpoints that exist at one time, which
 * is one more than the limit while one is saved, and the trained model.
 *
 * @throws {WriteError} with both numbers and what to change
 */
export async function checkDiskSpace(
  folder: RunFolder,
  config: TrainConfig,
  run: { readonly pairs: number; readonly model: LoadedModel; readonly optimizer: RuleOptimizer },
): Promise<void> {
  const { pairs, model, optimizer } = run;
  const { saveSteps, saveTotalLimit } = config;
  const { totalSteps } = planSteps({
    pairs,
    batchSize: config.perDeviceTrainBatchSize,
    gradientAccumulationSteps: batchesPerStep(config),
    epochs: config.numTrainEpochs,
    maxSteps: config.maxSteps,
  });
  const saves = saveSteps > 0 ? Math.ceil(totalSteps / saveSteps) : 1;
  const atOnce = Math.min(saves, saveTotalLimit + 1);
  const existing = (await readdir(folder.path)).filter((name) => /^checkpoint-\d+$/.test(name)).length;
  const parameters = model.policy.parameters.reduce(
    (total, { shape }) => total + shape.reduce((size, length) => size * length, 1),
    0,
  );
  const state = model.policy.parameters.reduce((total, parameter) => total + optimizer.stateBytes(parameter), 0);
  const weights = model.policy.parameters.reduce(
    (total, { name, value }) => total + savedBytes(savedTensor(name, value())),
    0,
  );
  const checkpoint = weights + state;
  const trained = parameters * ((config.saveDtype ?? model.dtype) === 'bfloat16' ? 2 : 4);
  await requireFreeSpace(
    folder.path,
    Math.max(0, atOnce - existing) * checkpoint + trained,
    `The run writes up to ${atOnce} checkpoints of ${formatBytes(checkpoint)} at one time and ${model.adapter ? 'an adapter' : 'a model'} of ${formatBytes(trained)}. ` +
      'Free some space, lower save_total_limit, set save_steps: 0, or set output_dir to another disk.',
  );
}
