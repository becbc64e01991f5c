import {
  type Group,
  type PairLoss,
  type Policy,
  precomputeReference,
  type Reference,
  referenceLogps,
  stopPause,
  type TokenPair,
} from '@wpo/trainer';
import { hashJson, hashPairs, referenceFiles } from '@wpo/trainer/node';
import type { AdapterChoice } from '../adapters';
import { largestPass } from '../memory';
import { type Backend, hashModel, type LoadedModel, loadModel, roundingOf, withModel } from '../models';
import type { RunPairs } from '../pairs';
import { loraSettings, trainsAdapter } from '../schemas/adapter';
import type { TrainConfig } from '../schemas/train';
import { withProgress } from '../terminal/progress';
import type { Terminal } from '../terminal/terminal';
import { trainingMemory } from './optimizer';
import type { RunFolder } from './run-folder';

/** The reference's log-probs of both sets of pairs; absent if the loss needs no reference. */
export interface References {
  readonly train?: Reference;
  readonly held?: Reference;
}

export interface ReferenceOptions {
  readonly config: TrainConfig;
  readonly loss: PairLoss;
  readonly pairs: RunPairs;
  readonly backend: Backend;
  /** Caches log-probs between runs. */
  readonly folder: RunFolder;
  readonly terminal: Terminal;
  /** Registers a model that the run frees at its end. Returns it. */
  readonly own: <T extends { dispose(): void }>(resource: T) => T;
  /** When aborted, the work stops by throwing the reason. What was computed is cached. */
  readonly signal: AbortSignal;
  readonly warn: (message: string) => void;
  /** Processes that divide the pairs among them. */
  readonly group: Group;
}

/**
 * Loads the model to train, and the log-probs of its reference. By default these are computed once, before the first step, and
 * only one model is in memory: the reference is the model itself, or another model that is freed before the model to train is
 * loaded. With `precompute_ref_log_probs: false` the reference stays in memory and runs in each step. If the loss needs no
 * reference, none is run.
 *
 * An adapter's reference is the same model, so that there never is a second one: with the adapter off, or, as in TRL, with the
 * adapter that the training starts from.
 */
export async function loadWithReferences(
  options: ReferenceOptions,
): Promise<{ readonly model: LoadedModel; readonly references: References }> {
  const { config, loss, pairs, backend, terminal } = options;
  const reference = { kind: 'score', ...largestPass([...pairs.train, ...pairs.held]) } as const;
  if (loss.needsReference === false) return { model: await loadPolicy(options), references: {} };
  const referenceFolder = config.refModelNameOrPath;
  const { ldAlpha } = loss;
  const pause = stopPause(options.signal);
  const logpsBy = (policy: Policy) => (pairs: readonly TokenPair[]) =>
    referenceLogps(policy, pairs, { ldAlpha, pause });
  if (trainsAdapter(config) && referenceFolder === undefined) {
    const model = await loadPolicy(options);
    const policy = await model.startingPolicy();
    const references = config.precomputeRefLogProbs
      ? await precompute({ policy }, options)
      : { train: logpsBy(policy), held: logpsBy(policy) };
    return { model, references };
  }
  if (!config.precomputeRefLogProbs) {
    const { policy } = options.own(
      await loadModel(referenceFolder ?? config.modelNameOrPath, { ...backend, terminal, use: reference }),
    );
    const references = { train: logpsBy(policy), held: logpsBy(policy) };
    return { model: await loadPolicy(options), references };
  }
  if (referenceFolder === undefined) {
    const model = await loadPolicy(options);
    return { model, references: await precompute(model, options) };
  }
  const loading = { ...backend, terminal, use: reference };
  const references = await withModel(referenceFolder, loading, (model) => precompute(model, options));
  return { model: await loadPolicy(options), references };
}

const loadPolicy = async (options: ReferenceOptions): Promise<LoadedModel> => {
  const offloadActivations = options.backend.activations(options.config);
  if (offloadActivations) options.own(offloadActivations);
  return options.own(
    await loadModel(options.config.modelNameOrPath, {
      ...options.backend,
      terminal: options.terminal,
      activationCheckpointing: options.config.activationCheckpointing,
      offloadActivations,
      adapter: adapterOf(options.config),
      use: { kind: 'train', ...trainingMemory(options.config, options.group.size) },
    }),
  );
};

/** The adapter that a run trains; undefined if it trains the model. */
export function adapterOf(config: TrainConfig): AdapterChoice | undefined {
  const { adapterNameOrPath: folder, usePeft, seed } = config;
  if (folder !== undefined) return { folder, seed };
  return usePeft ? { settings: loraSettings(config), seed } : undefined;
}

/** A hash of the contents of a run's reference: of a model, and of the adapter that the training starts from. */
export async function hashReference(config: TrainConfig): Promise<string> {
  const { modelNameOrPath, refModelNameOrPath, adapterNameOrPath } = config;
  if (refModelNameOrPath !== undefined) return hashModel(refModelNameOrPath);
  return hashModel(modelNameOrPath, adapterNameOrPath === undefined ? undefined : { folder: adapterNameOrPath });
}

async function precompute({ policy }: Pick<LoadedModel, 'policy'>, options: ReferenceOptions): Promise<References> {
  const { config, pairs, loss, folder, terminal, signal, warn, group } = options;
  const { ldAlpha } = loss;
  const hash = await hashReference(config);
  const cache = referenceFiles(folder.reference, { warn });
  const compute = async (label: string, set: readonly TokenPair[]) => {
    const unique = [...new Set(set)]; // a mixture may repeat a pair
    if (unique.length === 0) return [];
    const key = hashJson({
      ...{ model: hash, pairs: hashPairs(unique) },
      ...(ldAlpha === undefined ? {} : { ldAlpha }),
      ...roundingOf(config),
    });
    const logps = await withProgress(terminal, { label, total: unique.length }, (shown) => {
      const onProgress = (done: number) => shown.update(done);
      return precomputeReference({ policy, pairs: unique, ldAlpha, cache, key, signal, onProgress, group });
    });
    const byPair = new Map(unique.map((pair, i) => [pair, logps[i]!]));
    return set.map((pair) => byPair.get(pair)!);
  };
  return {
    train: await compute('reference', pairs.train),
    held: await compute('reference, held out', pairs.held),
  };
}
