import {
  type Block,
  blockParameters,
  estimateMemory,
  type Gemma2,
  type Gemma2Config,
  type ModelUse,
  tensorShapes,
  trainableParameters,
  type WeightBytes,
} from '@wpo/gemma';
import { type Checkpoint, readModelFolder } from '@wpo/gemma/node';
import { printable } from '@wpo/internal/printable';
import type { AvailableMemory, WeightStorage } from '@wpo/tensorflow/kernels';
import type { RuleOptimizer, TokenPair } from '@wpo/trainer';
import { type AdapterChoice, countParameters } from './adapters';
import { fromInput, UserError } from './errors';
import type { Terminal } from './terminal/terminal';

/** A model that is not trained, and what it is loaded for. */
export interface CheckedModel {
  readonly folder: string;
  readonly use: ModelUse;
  readonly adapter?: AdapterChoice | undefined;
}

/** Where memory is, and what is held in it. */
interface Machine {
  readonly availableMemory: () => AvailableMemory | undefined;
  readonly storage: WeightStorage;
}

/** Set to 0 to load models that do not fit by the estimate. */
export const MEMORY_CHECK = 'WPO_MEMORY_CHECK';

export const isCheckOff = (): boolean => process.env[MEMORY_CHECK] === '0';

/**
 * Checks that models which are not trained fit in memory together, before their weights are read. `checkRunMemory` checks a training
 * run.
 *
 * @throws {UserError} with the numbers, and what would make them fit
 */
export async function checkMemory(
  models: readonly CheckedModel[],
  { availableMemory, storage }: Machine,
  terminal: Terminal,
): Promise<void> {
  const available = availableMemory();
  if (available === undefined) return;
  const mapped = available.limit === 'ulimit -v' ? 'counts' : 'is free'; // mapped files are in the address space
  const needs = await Promise.all(models.map((model) => describeNeed(model, storage, mapped)));
  const total = needs.reduce((sum, need) => sum + need.total, 0);
  if (total <= available.bytes) return;
  const message =
    `${needs.map(({ text }) => text).join('; ')}: expected ${gigabytes(total)} of free memory, found ` +
    `${gigabytes(available.bytes)} (${LIMITS[available.limit].found}). `;
  if (isCheckOff()) {
    terminal.stderr.write(`${message}Continuing, because ${MEMORY_CHECK} is 0.\n`);
    return;
  }
  const fixed = needs.reduce((sum, need) => sum + need.fixed, 0);
  const smaller =
    fixed > available.bytes
      ? 'No option makes this model fit: use a smaller one, '
      : `${[...new Set(needs.map(({ use }) => SMALLER_PASS[use.kind]))].join(', ')}, use a smaller model, `;
  throw new UserError(`${message}${smaller}${LIMITS[available.limit].fix}. ${MEMORY_CHECK}=0 starts anyway.`);
}

export const LIMITS = {
  GPU: { found: 'of the GPU', fix: 'or a GPU with more memory' },
  machine: { found: 'of this machine', fix: 'or a machine with more memory' },
  container: { found: 'under the memory limit of this container', fix: 'or raise the memory limit of the container' },
  'ulimit -v': { found: 'under `ulimit -v`', fix: 'or raise `ulimit -v`' },
  'ulimit -d': { found: 'under `ulimit -d`', fix: 'or raise `ulimit -d`' },
} as const;

const SMALLER_PASS = {
  score: 'Lower the maximum length of pairs (max_length)',
  generate: 'Lower the number of new tokens (max_new_tokens) or the batch size',
} as const;

/**
 * Warns if the weights that are mapped from a file do not fit in memory, because each pass then reads them from the disk.
 */
export async function warnOfMappedWeights(
  model: CheckedModel,
  { availableMemory, storage }: Machine,
  { stderr }: Terminal,
): Promise<void> {
  const available = availableMemory()?.bytes;
  if (available === undefined) return;
  const { mapped, total } = await estimateOf(model, storage);
  if (mapped > 0 && mapped + total > available) stderr.write(`${slowWeights(model.folder, mapped, available)}\n`);
}

/** The warning of weights in a mapped file that do not fit in memory. */
export const slowWeights = (folder: string, mapped: number, available: number): string =>
  `${printable(folder)}: its weights take ${gigabytes(mapped)}, and ${gigabytes(available)} of memory are free. They are read ` +
  'from the disk as they are used, and again in each pass, which is slow.';

async function estimateOf({ folder, use, adapter }: CheckedModel, storage: WeightStorage) {
  const { config, checkpoint } = await fromInput(() => readModelFolder(folder));
  await checkpoint.close();
  const adapterParameters = adapter === undefined ? 0 : await fromInput(() => countParameters(adapter, config));
  const held = heldBytes(config, checkpoint, storage);
  return estimateMemory(config, use, { adapterParameters, held });
}

/** Where the weights of a checkpoint will be. Tensors that are missing are an error later. */
export function heldBytes(config: Gemma2Config, checkpoint: Checkpoint, storage: WeightStorage): WeightBytes {
  const names = [...tensorShapes(config).keys()].filter((name) => checkpoint.has(name));
  const bytes = names.map((name) => storage.bytesOf(checkpoint.locate(name)));
  return {
    allocated: bytes.reduce((sum, { allocated }) => sum + allocated, 0),
    mapped: bytes.reduce((sum, { mapped }) => sum + mapped, 0),
  };
}

async function describeNeed(model: CheckedModel, storage: WeightStorage, mapping: 'counts' | 'is free') {
  const { folder, use } = model;
  const estimate = await estimateOf(model, storage);
  const { parameters, weights, cache, pass, mapped } = estimate;
  const total = estimate.total + (mapping === 'counts' ? mapped : 0);
  const parts = [
    ...(weights > 0 ? [`weights ${gigabytes(weights)}`] : []),
    ...(mapped > 0 && mapping === 'counts' ? [`weights in a mapped file ${gigabytes(mapped)}`] : []),
    ...(cache > 0 ? [`keys and values of ${describeAnswers(use)} ${gigabytes(cache)}`] : []),
    `largest pass ${gigabytes(pass)}`,
  ];
  const verb = { score: 'running', generate: 'generating with' }[use.kind];
  const notCounted =
    mapped > 0 && mapping === 'is free'
      ? ` (not the ${gigabytes(mapped)} of weights, which are mapped from their file)`
      : '';
  const dtype = mapped > 0 ? '' : weights < 4 * parameters ? ' in bfloat16' : ' in float32';
  const text = `${printable(folder)}: ${verb} ${count(parameters)} parameters${dtype} takes ${parts.join(', ')}${notCounted}`;
  return { text, use, total, fixed: total - cache - pass };
}

const describeAnswers = (use: ModelUse) =>
  use.kind === 'generate'
    ? `${use.answers === 1 ? '' : `${use.answers} x `}${use.promptTokens + use.maxNewTokens} tokens`
    : '';

const count = (n: number) => (n < 1e8 ? `${(n / 1e6).toFixed(1)} million` : `${(n / 1e9).toFixed(2)} billion`);

const gigabytes = (bytes: number) => `${(bytes / 1e9).toFixed(bytes < 1e9 ? 2 : 1)} GB`;

/**
 * Bytes for kept activations: half of the available memory that gradients, the optimizer's state and the pages of mapped files leave.
 * Without these pages, each pass would read them from the disk. None remains if the user has turned off the check that the model
 * fits; then everything is recomputed.
 *
 * @param model its weights are in memory already
 */
export function activationBudget(
  model: Gemma2,
  { available, mapped, ...training }: { readonly available: number; readonly mapped: number } & TrainingMemory,
): number {
  const { stateBytes } = training;
  const state = trainableParameters(model).reduce((total, weight) => total + stateBytes(weight), 0);
  return Math.max(0, (available - mapped - gradientBytes(model, training) - state) / 2);
}

/** What decides the memory of training beside that of the passes. */
export interface TrainingMemory {
  /** Bytes of the optimizer's state for a weight. */
  readonly stateBytes: RuleOptimizer['stateBytes'];
  /** The gradients that are held at once: of all weights, or of the embedding and one or two other blocks. */
  readonly gradients: 'all' | 'one block' | 'two blocks';
}

/** Bytes of the float32 gradients that the device holds at once. */
export function gradientBytes(model: Gemma2, { gradients }: Pick<TrainingMemory, 'gradients'>): number {
  const bytesOf = (weights: readonly { readonly shape: readonly number[] }[]) =>
    weights.reduce((total, { shape }) => total + 4 * shape.reduce((size, n) => size * n, 1), 0);
  if (gradients === 'all') return bytesOf(trainableParameters(model));
  const bytesOfBlock = (block: Block) => bytesOf(blockParameters(model, block));
  const largest = Math.max(bytesOfBlock('norm'), ...model.layers.map((_, layer) => bytesOfBlock(layer)));
  return bytesOfBlock('embedding') + (gradients === 'two blocks' ? 2 : 1) * largest;
}

/** The largest pass of a command that runs pairs one at a time: all tokens of the longest pair, and those of its answers. */
export function largestPass(pairs: readonly TokenPair[]): { readonly tokens: number; readonly answerTokens: number } {
  return pairs.reduce(
    (largest, { prompt, chosen, rejected }) => {
      const answerTokens = chosen.length + rejected.length;
      const tokens = prompt.length + answerTokens;
      return tokens > largest.tokens ? { tokens, answerTokens } : largest;
    },
    { tokens: 0, answerTokens: 0 },
  );
}
