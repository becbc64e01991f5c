import { type PairLoss, precomputeReference, type Reference, referenceLogps, type TokenPair } from '@wpo/trainer';
import { hashJson, hashPairs, referenceFiles } from '@wpo/trainer/node';
import { type Backend, hashModel, type LoadedModel, loadModel } from '../models';
import type { RunPairs } from '../pairs';
import type { TrainConfig } from '../schemas/train';
import { withProgress } from '../terminal/progress';
import type { Terminal } from '../terminal/terminal';
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
  /** When aborted, the work stops by throwing the reason. What was computed is cached. */
  readonly signal: AbortSignal;
  readonly warn: (message: string) => void;
}

/**
 * Loads the model to train, and the log-probs of its reference. By default these are computed once, before the first step, and
 * only one model is in memory: the reference is the model itself, or another model that is freed before the model to train is
 * loaded. With `precompute_ref_log_probs: false` the reference stays in memory and runs in each step. If the loss needs no
 * reference, none is run.
 */
export async function loadWithReferences(
  options: ReferenceOptions,
): Promise<{ readonly model: LoadedModel; readonly references: References }> {
  const { config, loss, backend } = options;
  if (loss.needsReference === false) return { model: await loadPolicy(options), references: {} };
  const referenceFolder = config.refModelNameOrPath;
  if (!config.precomputeRefLogProbs) {
    const { policy } = await loadModel(referenceFolder ?? config.modelNameOrPath, backend);
    const logpsOf = (pairs: readonly TokenPair[]) => referenceLogps(policy, pairs, loss);
    return { model: await loadPolicy(options), references: { train: logpsOf, held: logpsOf } };
  }
  if (referenceFolder === undefined) {
    const model = await loadPolicy(options);
    return { model, references: await precompute(model, options) };
  }
  const reference = await loadModel(referenceFolder, backend);
  const references = await precompute(reference, options);
  reference.dispose();
  return { model: await loadPolicy(options), references };
}

const loadPolicy = ({ config, backend }: ReferenceOptions): Promise<LoadedModel> =>
  loadModel(config.modelNameOrPath, {
    ...backend,
    activationCheckpointing: config.activationCheckpointing,
    trainable: true,
  });

async function precompute(model: LoadedModel, options: ReferenceOptions): Promise<References> {
  const { pairs, loss, folder, terminal, signal, warn } = options;
  const { ldAlpha } = loss;
  const hash = await hashModel(model.folder);
  const cache = referenceFiles(folder.reference, { warn });
  const compute = async (label: string, set: readonly TokenPair[]) => {
    if (set.length === 0) return [];
    const key = hashJson({ model: hash, pairs: hashPairs(set), ...(ldAlpha === undefined ? {} : { ldAlpha }) });
    return withProgress(terminal, { label, total: set.length }, (shown) => {
      const onProgress = (done: number) => shown.update(done);
      return precomputeReference({ policy: model.policy, pairs: set, ldAlpha, cache, key, signal, onProgress });
    });
  };
  return {
    train: await compute('reference', pairs.train),
    held: await compute('reference, held out', pairs.held),
  };
}
