import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { basename, resolve } from 'node:path';
import { epochOrder } from '@wpo/data';
import { ADAPTER_WEIGHTS, readTensors, writeTensors } from '@wpo/gemma/node';
import { MAX_COUNT } from '@wpo/internal/training-ranges';
import {
  onFirstRank,
  orFail,
  type PairLoss,
  preferencePairLoss,
  train as runTraining,
  type TrainOptions,
  type TrainResult,
} from '@wpo/trainer';
import { fileCheckpoints, hashPairs, metricsFile, pairLogFile } from '@wpo/trainer/node';
import { localAdapter, localModel } from '../downloads';
import { InterruptedError, UserError } from '../errors';
import { wpoCommand } from '../invocation';
import { hashModel, type LoadedModel, loadBackend, type SaveOptions, saveModel, saveModelFiles } from '../models';
import { type RunPairs, readRunPairs } from '../pairs';
import { alone, type Processes } from '../processes';
import { earlierAnswers, PromptAnswers } from '../report/prompt-answers';
import { recordEnvironment } from '../report/recordings';
import { watchRun } from '../report/watch';
import { recordBefore, recordDuring, recordTrained, reportRun, withoutFailing } from '../report/write-report';
import { trainsAdapter } from '../schemas/adapter';
import { lossOptions } from '../schemas/loss';
import { decidingValues } from '../schemas/schema';
import { batchesPerStep, type TrainConfig, trainSchema } from '../schemas/train';
import { count, counted } from '../terminal/format';
import { watchSignals } from '../terminal/signals';
import { processTerminal, type Terminal } from '../terminal/terminal';
import { checkDiskSpace } from '../training/disk-space';
import { machineMemory } from '../training/machine-memory';
import { checkRunMemory } from '../training/memory-check';
import { modelCard } from '../training/model-card';
import { optimizerOf } from '../training/optimizer';
import { hashReference, loadWithReferences, type References } from '../training/references';
import { collapseWithoutModel, endedByCollapse, eventPrinter, runSummary } from '../training/reports';
import {
  lockFolder,
  type RunFolder,
  readCollapse,
  runFolder,
  stateOf,
  writeCollapse,
  writeConfig,
} from '../training/run-folder';
import { allSinks, tensorboardFiles } from '../training/tensorboard';
import { checkPush, pushModel } from './push';

export interface TrainCommandOptions {
  /** Continue the run in `outputDir` from its newest checkpoint. Default false. */
  readonly resume?: boolean | undefined;
  /** Shows the report while the run trains, on a port of 127.0.0.1; true chooses a free one. */
  readonly watch?: number | true | undefined;
  /** The processes of the run, of which this is one. Default: this one alone. */
  readonly processes?: Processes | undefined;
}

/**
 * `wpo train`: trains a model on preference pairs, and prints a summary of the run.
 *
 * @param config as `readTrainConfig` reads it from a YAML file
 * @returns the exit status: 0; 1 if the model could not be uploaded with `push_to_hub`; 3 if the run ended because the model collapsed; 130 or 143 if SIGINT or SIGTERM stopped it
 */
export async function train(
  given: TrainConfig,
  { resume = false, watch, processes = alone }: TrainCommandOptions = {},
  terminal: Terminal = processTerminal(),
): Promise<number> {
  const { group, isFirst } = processes;
  const config = group.size === 1 ? given : { ...given, numProcesses: given.numProcesses ?? group.size };
  processes.setTimeout(config.distTimeout);
  /** Runs work on rank 0. The others do not wait. */
  const onFirst = async (work: () => Promise<void>) => orFail(group, async () => void (isFirst && (await work())));
  const say = (line: string) => void terminal.stdout.write(`${line}\n`);
  const folder = runFolder(config.outputDir);
  /** The exit status of a run that has ended already, after a message. */
  const endedBefore = async (): Promise<number | undefined> => {
    if ((await stateOf(folder, config, resume)) !== 'finished') return undefined;
    const collapse = await readCollapse(folder);
    say(
      collapse === null
        ? `This run is finished. Its ${trainsAdapter(config) ? 'adapter' : 'model'} is in ${folder.model}`
        : endedByCollapse(folder, collapse),
    );
    return collapse === null ? 0 : COLLAPSED;
  };
  const before = await onFirstRank(group, 'the state of output_dir', endedBefore);
  if (typeof before === 'number') return before;
  if (config.pushToHub) await onFirst(async () => void (await checkPush(repositoryOf(config))));
  const local = await processes.oncePerMachine(() => withLocalModels(config, terminal));
  const pairs = await readRunPairs(local, terminal);
  const answers = isFirst ? await openAnswers(local, pairs, { folder, resume }) : undefined;
  const loss = preferencePairLoss(lossOptions(config));
  checkWeights(loss, config, pairs);
  warnOfTies(pairs, terminal);
  const backend = processes.shareMemory(await loadBackend(config));
  const gradientAccumulationSteps = Math.ceil(batchesPerStep(config) / group.size);
  const planned = {
    config: { ...local, gradientAccumulationSteps },
    ...{ processes: group.size, loss, pairs, storage: backend.storage },
  };
  await orFail(group, () => checkRunMemory(planned, machineMemory(backend), terminal));
  let release = () => {};
  await onFirst(async () => {
    release = await lockFolder(folder);
  });

  const owned: { dispose(): void }[] = [];
  const own = <T extends { dispose(): void }>(resource: T): T => {
    owned.push(resource);
    return resource;
  };
  const ownStop = watchSignals(terminal); // of work that only this process does
  const stop = processes.shareStop(ownStop, terminal);
  const shown = eventPrinter(config, terminal);
  const warn = (message: string) => shown.show({ type: 'warning', message });
  let finished: TrainResult;
  const saving = ({ dtype }: LoadedModel): SaveOptions => ({
    dtype: config.saveDtype ?? dtype,
    ...hubModel(config.modelNameOrPath),
  });
  const stopped = async (when: string) => {
    shown.stop();
    if (isFirst && existsSync(folder.metrics)) await reportRun(folder, terminal);
    say(`Stopped ${when}\nTo continue: ${wpoCommand()} train ${folder.config} --resume`);
    return stop.status();
  };
  try {
    // again: another run may have trained here before the lock was free
    const ended = await onFirstRank(group, 'the state of output_dir', endedBefore);
    if (typeof ended === 'number') return ended;
    await onFirst(async () => {
      await writeConfig(folder, config);
      await withoutFailing('the environment', terminal, () => recordEnvironment({ folder, backend }));
      if (watch !== undefined) say(`Watch the run at ${own(await watchRun(folder, watch)).url}`);
    });
    const held = pairs.held.length > 0 ? `, ${pairs.held.length} held out` : '';
    const by = group.size === 1 ? '' : ` with ${group.size} processes`;
    const outputDir = resolve(folder.path);
    terminal.onEvent?.({ type: 'run', outputDir, pairs: pairs.train.length, heldOut: pairs.held.length });
    say(`Training on ${counted(pairs.train.length, 'pair')}${held}${by}. Run directory: ${folder.path}`);
    const { model, references } = await loadWithReferences({
      config: local,
      loss,
      pairs,
      backend,
      folder,
      terminal,
      own,
      signal: stop.signal,
      warn,
      group,
    });
    if (config.dtype === 'float32' && config.saveDtype === undefined && model.dtype !== 'float32') {
      terminal.stderr.write(
        `dtype: float32 is how weights are held in memory. The model is saved in ${model.dtype}, the type of its files; for ` +
          'another type set save_dtype.\n',
      );
    }
    const recording = { folder, config, pairs, model, backend, terminal, stop: ownStop };
    if (answers) await recordBefore(recording, answers);
    stop.signal.throwIfAborted();
    const optimizer = own(optimizerOf(config, backend.optimizer(config)));
    const offloadGradients = backend.gradients(config);
    if (offloadGradients) own(offloadGradients);
    const board =
      config.reportTo === 'tensorboard' && isFirst
        ? own(tensorboardFiles(folder.tensorboard, backend.summaryWriter))
        : undefined;
    await onFirst(() => checkDiskSpace(folder, config, { pairs: pairs.train.length, model, optimizer }));
    const run = runTraining({
      policy: model.policy,
      optimizer,
      loss,
      ...stepOptions(config),
      ...pairOptions(config, pairs, references),
      ...fileOptions(config, folder, { model, saving: saving(model) }),
      metrics: allSinks([metricsFile(folder.metrics, { warn }), ...(board ? [board.sink] : [])]),
      computeNorm: backend.computeNorm,
      ...(offloadGradients && { offloadGradients }),
      usedMemory: backend.usedMemory,
      preflight: true,
      group,
      fingerprint: await fingerprintOf(local, pairs),
      resume,
      signal: stop.signal,
    });
    for await (const event of run) {
      shown.show(event);
      if (answers) await recordDuring(recording, answers, event);
    }
    const result = await run;
    const { step, totalSteps } = result;
    const tellStopped = () => terminal.onEvent?.({ type: 'result', model: null, ...result });
    const collapsed = result.collapse !== null && config.stopOnCollapse;
    if (collapsed && result.restoredStep === null) {
      shown.stop();
      if (isFirst) await reportRun(folder, terminal);
      tellStopped();
      say(collapseWithoutModel(step, result.collapse!));
      return COLLAPSED;
    }
    if (result.stopped && !collapsed) tellStopped();
    if (result.stopped && !collapsed && step === 0) return stopped('before the first step.');
    if (result.stopped && !collapsed) {
      return stopped(
        `after step ${step} of ${totalSteps}. Checkpoint: ${folder.path}/checkpoint-${step}.\n` +
          `It can be used as ${trainsAdapter(config) ? `an adapter: --model ${config.modelNameOrPath} --adapter` : 'a model: --model'} ` +
          `${folder.path}/checkpoint-${step}\n` +
          `To write the ${trainsAdapter(config) ? 'adapter' : 'model'} by itself: ${wpoCommand()} export ${folder.path}`,
      );
    }
    await onFirst(async () => {
      await writeCollapse(folder, collapsed ? `after step ${step}: ${result.collapse}` : null);
      const modelStep = result.restoredStep ?? undefined;
      const files = await withoutFailing('the model card', terminal, () =>
        modelCard({ config, folder, baseFolder: model.folder, modelStep }),
      );
      await saveModel(folder.model, model, { ...saving(model), files });
      await rm(folder.extending, { force: true });
    });
    shown.stop();
    if (answers) await recordTrained(recording, answers, result.restoredStep ?? step);
    finished = result;
  } catch (error) {
    if (!stop.signal.aborted || error !== stop.signal.reason) throw error;
    return stopped('before the first step. The reference’s log-probs that were computed so far are kept.');
  } finally {
    shown.stop();
    for (const resource of owned) resource.dispose();
    stop.dispose();
    release();
  }
  const endStatus = finished.collapse !== null && config.stopOnCollapse ? COLLAPSED : 0;
  if (!isFirst) return endStatus;
  const report = await reportRun(folder, terminal);
  terminal.onEvent?.({ type: 'result', model: resolve(folder.model), ...finished });
  say(await runSummary(folder, pairs, finished, config, report));
  const pushed = config.pushToHub ? await pushTrained(config, folder, terminal) : 0;
  return endStatus || pushed;
}

/** The prompts that a run answers, with the answers of its earlier parts. */
const openAnswers = async (
  config: TrainConfig,
  pairs: RunPairs,
  { folder, resume }: { readonly folder: RunFolder; readonly resume: boolean },
): Promise<PromptAnswers> => {
  const isResumed = (await stateOf(folder, config, resume)) === 'unfinished';
  return PromptAnswers.open({ config, pairs }, isResumed ? await earlierAnswers(folder) : []);
};

/** The repository that `push_to_hub` uploads to. */
const repositoryOf = ({ hubModelId, outputDir }: TrainConfig) => hubModelId ?? basename(outputDir);

/** Uploads the model of a run that has ended, which a failure does not change. Returns the exit status. */
async function pushTrained(config: TrainConfig, { model }: RunFolder, terminal: Terminal): Promise<number> {
  const repo = repositoryOf(config);
  try {
    await pushModel(model, repo, { isPrivate: config.hubPrivateRepo }, terminal);
    return 0;
  } catch (error) {
    const isInterrupted = error instanceof InterruptedError;
    if (!isInterrupted && !(error instanceof UserError)) throw error;
    terminal.stderr.write(
      `${error.message}\nThe run is complete, and its model is in ${model}. To upload it: ${wpoCommand()} push ${model} --repo ${repo}\n`,
    );
    return isInterrupted ? error.status : 1;
  }
}

/** The model of an adapter as PEFT finds it: a name on the Hub and its revision, or a path. */
function hubModel(location: string): Pick<SaveOptions, 'baseModel' | 'baseRevision'> {
  const [, name, revision] = /^hf:\/\/([^/@]+\/[^/@]+)(?:@([^/]+))?$/.exec(location) ?? [];
  return name === undefined
    ? { baseModel: location }
    : { baseModel: name, ...(revision !== undefined && { baseRevision: decodeURIComponent(revision) }) };
}

/** The exit status of a run that `stop_on_collapse` ended. */
const COLLAPSED = 3;

/** @throws {UserError} if a row has a weight and the loss ranks pairs, which cannot use weights */
function checkWeights(loss: PairLoss, { lossType }: TrainConfig, { train, held }: RunPairs): void {
  if (!loss.needsBatch) return;
  const weighted = [...train, ...held].find(({ weight = 1 }) => weight !== 1);
  if (!weighted) return;
  throw new UserError(
    `pair "${weighted.id}": "weight": expected no weights with loss_type ${lossType.join(', ')}, found ` +
      `${weighted.weight}. aot compares quantiles of a batch, which weights of single pairs would not change. Remove the ` +
      'column, or use another loss.',
  );
}

/** Reports pairs that a preference loss learns nothing from. */
function warnOfTies({ train }: RunPairs, { stderr }: Terminal): void {
  const isTie = ({ chosen, rejected }: (typeof train)[number]) =>
    chosen.length === rejected.length && chosen.every((id, i) => id === rejected[i]);
  const ties = train.filter(isTie);
  if (ties.length === 0) return;
  stderr.write(
    `${count(ties.length)} of ${counted(train.length, 'pair')} ${ties.length === 1 ? 'has' : 'have'} equal chosen and rejected ` +
      'answers, of which a preference loss learns nothing. ' +
      `The first is "${ties[0]!.id}".\n`,
  );
}

/** Downloads the models that are on the Hub, and returns the config with the folders of its models. */
export async function withLocalModels(config: TrainConfig, terminal: Terminal): Promise<TrainConfig> {
  const { modelNameOrPath, refModelNameOrPath, adapterNameOrPath } = config;
  return {
    ...config,
    modelNameOrPath: await localModel(modelNameOrPath, terminal),
    ...(refModelNameOrPath === undefined ? {} : { refModelNameOrPath: await localModel(refModelNameOrPath, terminal) }),
    ...(adapterNameOrPath === undefined ? {} : { adapterNameOrPath: await localAdapter(adapterNameOrPath, terminal) }),
  };
}

/** The number of steps, their size, and the intervals of logging, saving and evaluation. */
const stepOptions = (config: TrainConfig) => ({
  epochs: config.numTrainEpochs,
  maxSteps: config.maxSteps,
  batchSize: config.perDeviceTrainBatchSize,
  gradientAccumulationSteps: batchesPerStep(config),
  maxTokensPerPack: config.maxTokensPerPack,
  learningRate: config.learningRate,
  schedule: config.lrSchedulerType,
  warmupRatio: config.warmupRatio,
  warmupSteps: config.warmupSteps,
  maxGradNorm: config.maxGradNorm,
  optimizerInBackward: config.optimizerInBwd,
  sharding: config.sharding,
  loggingSteps: config.loggingSteps,
  saveSteps: config.saveSteps,
  evalSteps: config.evalSteps ?? MAX_COUNT, // never reached, so that only the last step is followed by an evaluation
  evalOnStart: true,
  loadBestModelAtEnd: config.loadBestModelAtEnd,
  metricForBestModel: config.metricForBestModel,
  greaterIsBetter: config.greaterIsBetter,
  stopOnCollapse: config.stopOnCollapse,
  skipNonfinite: config.skipNonfinite,
});

const pairOptions = (config: TrainConfig, { train, held }: RunPairs, references: References) => ({
  pairs: train,
  reference: references.train,
  order: (epoch: number) => epochOrder(train.length, config.seed, epoch, config.shuffle),
  ...(held.length === 0
    ? {}
    : { evaluation: { pairs: held, reference: references.held, batchSize: config.perDeviceEvalBatchSize } }),
});

const fileOptions = (
  config: TrainConfig,
  folder: RunFolder,
  { model, saving }: { readonly model: LoadedModel; readonly saving: SaveOptions },
) => ({
  pairLog: pairLogFile(folder.pairs),
  checkpoints: fileCheckpoints(folder.path, {
    writeTensors,
    readTensors,
    ...(model.adapter && { weightsFile: ADAPTER_WEIGHTS }),
    writeModelFiles: (path) => saveModelFiles(path, model, saving),
    saveTotalLimit: config.saveTotalLimit,
  }),
});

/** The values that a checkpoint and the run that resumes from it must share. */
async function fingerprintOf(config: TrainConfig, pairs: RunPairs): Promise<NonNullable<TrainOptions['fingerprint']>> {
  const { modelNameOrPath, adapterNameOrPath } = config;
  // the trainer records the steps and the learning rate, which may change in one direction, and the batches of all processes
  const { max_steps, num_train_epochs, learning_rate, gradient_accumulation_steps, num_processes, ...values } =
    decidingValues(trainSchema, config);
  return {
    ...(values as NonNullable<TrainOptions['fingerprint']>),
    model_sha256: await hashModel(modelNameOrPath),
    reference_sha256: await hashReference(config),
    ...(adapterNameOrPath !== undefined && { adapter_sha256: await hashModel(adapterNameOrPath) }),
    train_pairs_sha256: hashPairs(pairs.train),
    held_out_pairs_sha256: hashPairs(pairs.held),
  };
}
