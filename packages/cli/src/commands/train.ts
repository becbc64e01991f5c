import { epochOrder } from '@wpo/data';
import {
  adamW,
  type MetricsRow,
  type PairLoss,
  preferencePairLoss,
  train as runTraining,
  type TrainOptions,
} from '@wpo/trainer';
import { fileCheckpoints, hashPairs, metricsFile } from '@wpo/trainer/node';
import { loadBackend } from '../backend';
import { localModel } from '../downloads';
import { UserError } from '../errors';
import { lossOptions } from '../loss-config';
import { hashModel, readTensors, saveModel, writeTensors } from '../model';
import { type RunPairs, readRunPairs } from '../pairs';
import { type Progress, progress } from '../progress';
import { loadWithReferences, type References } from '../references';
import { decidingKeys, type RunConfig, readRunConfig } from '../run-config';
import { claimFolder, type RunFolder, readMetrics, runFolder, stateOf, writeConfig } from '../run-folder';
import { listenForStop } from '../stop';
import { formatSummary, summarise } from '../summary';
import type { Terminal } from '../terminal';

export interface TrainArguments {
  /** The run's YAML file. */
  readonly config: string;
  /** `key=value` each, over the file's. */
  readonly set?: readonly string[];
  readonly resume?: boolean;
}

/**
 * `wpo train`: trains a model on preference pairs as a YAML file says, and sums up what came of it.
 *
 * @returns the exit status: 0, or 130 or 143 where SIGINT or SIGTERM stopped it
 */
export async function train(given: TrainArguments, terminal: Terminal = process): Promise<number> {
  const say = (line: string) => void terminal.stdout.write(`${line}\n`);
  const { resume = false } = given;
  const written = await readRunConfig(given.config, given.set);
  const folder = runFolder(written.output_dir);
  if ((await stateOf(folder, written, resume)) === 'done') {
    say(`This run is finished. Its model lies in ${folder.model}`);
    return 0;
  }
  const config = await withLocalModels(written, terminal);
  const pairs = await readRunPairs(config, terminal);
  const loss = preferencePairLoss(lossOptions(config));
  refuseWeights(loss, config, pairs);
  const backend = await loadBackend();
  const release = await claimFolder(folder);

  const stop = listenForStop(terminal);
  const shown = stepReports(config, terminal);
  const stopped = (where: string) => {
    shown.stop();
    say(`Stopped ${where}. Go on with: wpo train ${folder.config} --resume`);
    return stop.status();
  };
  try {
    await writeConfig(folder, written);
    const held = pairs.held.length > 0 ? `, ${pairs.held.length} held out` : '';
    say(`Training on ${pairs.train.length} pairs${held}. Run directory: ${folder.path}`);
    const { model, references } = await loadWithReferences({
      config,
      loss,
      pairs,
      backend,
      folder,
      terminal,
      signal: stop.signal,
    });
    const optimizer = adamW({
      beta1: config.adam_beta1,
      beta2: config.adam_beta2,
      epsilon: config.adam_epsilon,
      weightDecay: config.weight_decay,
      kernel: backend.adamW,
    });
    const { step, totalSteps, ...result } = await runTraining({
      policy: model.policy,
      optimizer,
      loss,
      ...stepsOf(config),
      ...pairsOf(config, pairs, references),
      ...filesOf(config, folder),
      ...shown.callbacks,
      computeNorm: backend.norm,
      preflight: true,
      fingerprint: await fingerprintOf(config, pairs),
      resume,
      signal: stop.signal,
    });
    optimizer.dispose();
    if (result.stopped && step === 0) return stopped('before the first step');
    if (result.stopped)
      return stopped(`after step ${step} of ${totalSteps}, saved in ${folder.path}/checkpoint-${step}`);
    await saveModel(folder.model, model, config.dtype ?? model.dtype);
    model.dispose();
  } catch (error) {
    if (!stop.signal.aborted || error !== stop.signal.reason) throw error;
    return stopped('before the first step, the reference’s log-probs so far kept');
  } finally {
    shown.stop();
    stop.dispose();
    release();
  }
  say(await sumUp(folder, pairs));
  return 0;
}

/** @throws {UserError} where a row has a weight and the loss ranks pairs, which takes none. */
function refuseWeights(loss: PairLoss, { loss_type }: RunConfig, { train, held }: RunPairs): void {
  if (!loss.needsBatch) return;
  const weighted = [...train, ...held].find(({ weight = 1 }) => weight !== 1);
  if (!weighted) return;
  throw new UserError(
    `pair "${weighted.id}": "weight": found ${weighted.weight} with loss_type ${loss_type.join(', ')}, wanted none: aot ` +
      'compares quantiles of a batch, which weights on its pairs would not move. Leave the column out, or take another loss.',
  );
}

/** The config with the folders of its models, fetched from the hub where it names them so. */
async function withLocalModels(config: RunConfig, terminal: Terminal): Promise<RunConfig> {
  const { model_name_or_path: model, ref_model_name_or_path: reference } = config;
  return {
    ...config,
    model_name_or_path: await localModel(model, terminal),
    ...(reference === undefined ? {} : { ref_model_name_or_path: await localModel(reference, terminal) }),
  };
}

/** How many steps there are, what one is made of, and when something is due. */
const stepsOf = (config: RunConfig) => ({
  epochs: config.num_train_epochs,
  maxSteps: config.max_steps,
  batchSize: config.per_device_train_batch_size,
  gradientAccumulationSteps: config.gradient_accumulation_steps,
  maxTokensPerPack: config.max_tokens_per_pack,
  learningRate: config.learning_rate,
  schedule: config.lr_scheduler_type,
  warmupRatio: config.warmup_ratio,
  warmupSteps: config.warmup_steps,
  maxGradNorm: config.max_grad_norm,
  loggingSteps: config.logging_steps,
  saveSteps: config.save_steps,
  evalSteps: config.eval_steps ?? Number.MAX_SAFE_INTEGER, // never reached: after the last step only
  evalOnStart: true,
});

const pairsOf = (config: RunConfig, { train, held }: RunPairs, references: References) => ({
  pairs: train,
  reference: references.train,
  order: (epoch: number) => epochOrder(train.length, config.seed, epoch, config.shuffle),
  ...(held.length === 0
    ? {}
    : { evaluation: { pairs: held, reference: references.held, batchSize: config.per_device_eval_batch_size } }),
});

const filesOf = (config: RunConfig, folder: RunFolder) => ({
  metrics: metricsFile(folder.metrics),
  checkpoints: fileCheckpoints(folder.path, { writeTensors, readTensors, saveTotalLimit: config.save_total_limit }),
});

/** What a checkpoint must have in common with a run that goes on from it. */
async function fingerprintOf(config: RunConfig, pairs: RunPairs): Promise<NonNullable<TrainOptions['fingerprint']>> {
  const { model_name_or_path: model, ref_model_name_or_path: reference = model } = config;
  return {
    ...Object.fromEntries(decidingKeys.map((key) => [key, config[key] ?? null])),
    model_sha256: await hashModel(model),
    reference_sha256: await hashModel(reference),
    train_pairs_sha256: hashPairs(pairs.train),
    held_out_pairs_sha256: hashPairs(pairs.held),
  };
}

/** Shows steps and evaluations as they come. */
function stepReports(config: RunConfig, terminal: Terminal) {
  let shown: Progress | undefined;
  const note = (line: string) => (shown ? shown.note(line) : void terminal.stderr.write(`${line}\n`));
  const told = (row: MetricsRow, names: Readonly<Record<string, string>>) =>
    Object.entries(names)
      .map(([name, metric]) => `${name} ${row[metric]!.toFixed(4)}`)
      .join('  ');
  const callbacks: Pick<TrainOptions, 'onStep' | 'onEvaluation' | 'warn'> = {
    onStep({ step, totalSteps, metrics }) {
      shown ??= progress(terminal, { label: 'train', total: totalSteps, every: config.logging_steps });
      shown.update(step, told(metrics, { loss: 'loss', weight: 'wpo/weight', margin: 'rewards/margins' }));
    },
    onEvaluation(row) {
      const names = { loss: 'eval_loss', accuracy: 'eval_rewards/accuracies', margin: 'eval_rewards/margins' };
      note(`held out, after step ${row.step}: ${told(row, names)}`);
    },
    warn: note,
  };
  return { callbacks, stop: () => shown?.stop() };
}

async function sumUp(folder: RunFolder, pairs: RunPairs): Promise<string> {
  const summary = summarise(await readMetrics(folder));
  const { path, model } = folder;
  const run = { folder: path, model, pairs: pairs.train.length, skipped: pairs.skipped, evalPairs: pairs.held.length };
  return `\nTrained.\n${formatSummary(summary, run)}`;
}
