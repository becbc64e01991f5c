import {
  estimateMemory,
  type Gemma2Config,
  type ModelUse,
  type StateBytes,
  tensorShapes,
  trainingBytes,
  type WeightBytes,
} from '@wpo/gemma';
import { type Checkpoint, readModelFolder } from '@wpo/gemma/node';
import { printable } from '@wpo/internal/printable';
import type { AvailableMemory, WeightStorage } from '@wpo/tensorflow/kernels';
import type { TokenPair } from '@wpo/trainer';
import { type AdapterChoice, countParameters } from './adapters';
import { fromInput, UserError } from './errors';
import type { Terminal } from './terminal/terminal';

/** A model and what it is loaded for. */
export interface PlannedModel {
  readonly folder: string;
  readonly use: ModelUse;
  readonly adapter?: AdapterChoice | undefined;
}

/** Whether the weights of the model itself are trained. They are then float32, with gradients. */
export const isTrained = ({ use, adapter }: Pick<PlannedModel, 'use' | 'adapter'>): boolean =>
  use.kind === 'train' && adapter === undefined;

/** Where memory is, and what is held in it. */
interface Machine {
  readonly availableMemory: () => AvailableMemory | undefined;
  readonly storage: WeightStorage;
}

/** Set to 0 to load models that do not fit by the estimate. */
const VARIABLE = 'WPO_MEMORY_CHECK';

/**
 * Checks that models fit in memory together, before their weights are read.
 *
 * @throws {UserError} with the numbers, and what would make them fit
 */
export async function checkMemory(
  models: readonly PlannedModel[],
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
  if (process.env[VARIABLE] === '0') {
    terminal.stderr.write(`${message}Continuing, because ${VARIABLE} is 0.\n`);
    return;
  }
  const fixed = needs.reduce((sum, need) => sum + need.fixed, 0);
  const smaller =
    fixed > available.bytes
      ? models.some(isTrained)
        ? 'Train an adapter instead of all weights (use_peft: true), use a smaller model, '
        : 'No option makes this model fit: use a smaller one, '
      : `${[...new Set(needs.map(({ use }) => SMALLER_PASS[use.kind]))].join(', ')}, use a smaller model, `;
  throw new UserError(`${message}${smaller}${LIMITS[available.limit].fix}. ${VARIABLE}=0 starts anyway.`);
}

const LIMITS = {
  GPU: { found: 'of the GPU', fix: 'or a GPU with more memory' },
  machine: { found: 'of this machine', fix: 'or a machine with more memory' },
  container: { found: 'under the memory limit of this container', fix: 'or raise the memory limit of the container' },
  'ulimit -v': { found: 'under `ulimit -v`', fix: 'or raise `ulimit -v`' },
  'ulimit -d': { found: 'under `ulimit -d`', fix: 'or raise `ulimit -d`' },
} as const;

const SMALLER_PASS = {
  train: 'Lower max_length, per_device_train_batch_size or max_tokens_per_pack',
  score: 'Lower the maximum length of pairs (max_length)',
  generate: 'Lower the number of new tokens (max_new_tokens) or the batch size',
} as const;

/**
 * Warns if the weights that are mapped from a file do not fit in memory, because each pass then reads them from the disk.
 */
export async function warnOfMappedWeights(
  model: PlannedModel,
  { availableMemory, storage }: Machine,
  { stderr }: Terminal,
): Promise<void> {
  const available = availableMemory()?.bytes;
  if (available === undefined || isTrained(model)) return;
  const { mapped, total } = await estimateOf(model, storage);
  if (mapped === 0 || mapped + total <= available) return;
  stderr.write(
    `${printable(model.folder)}: its weights take ${gigabytes(mapped)}, and ${gigabytes(available)} of memory are free. They are read ` +
      'from the disk as they are used, and again in each pass, which is slow.\n',
  );
}

async function estimateOf({ folder, use, adapter }: PlannedModel, storage: WeightStorage) {
  const { config, checkpoint } = await fromInput(() => readModelFolder(folder));
  await checkpoint.close();
  const adapterParameters = adapter === undefined ? 0 : await fromInput(() => countParameters(adapter, config));
  const held = isTrained({ use, adapter }) ? undefined : heldBytes(config, checkpoint, storage);
  return { adapterParameters, ...estimateMemory(config, use, { adapterParameters, ...(held && { held }) }) };
}

/** Where the weights of a checkpoint will be. Tensors that are missing are an error later. */
function heldBytes(config: Gemma2Config, checkpoint: Checkpoint, storage: WeightStorage): WeightBytes {
  const names = [...tensorShapes(config).keys()].filter((name) => checkpoint.has(name));
  const bytes = names.map((name) => storage.bytesOf(checkpoint.locate(name)));
  return {
    allocated: bytes.reduce((sum, { allocated }) => sum + allocated, 0),
    mapped: bytes.reduce((sum, { mapped }) => sum + mapped, 0),
  };
}

async function describeNeed(model: PlannedModel, storage: WeightStorage, mapping: 'counts' | 'is free') {
  const { folder, use, adapter } = model;
  const estimate = await estimateOf(model, storage);
  const { adapterParameters, parameters, weights, training, cache, pass, mapped } = estimate;
  const total = estimate.total + (mapping === 'counts' ? mapped : 0);
  const parts = [
    ...(weights > 0 ? [`weights ${gigabytes(weights)}`] : []),
    ...(mapped > 0 && mapping === 'counts' ? [`weights in a mapped file ${gigabytes(mapped)}`] : []),
    ...(training > 0 ? [`gradients and the optimizer's state ${gigabytes(training)}`] : []),
    ...(cache > 0 ? [`keys and values of ${describeAnswers(use)} ${gigabytes(cache)}`] : []),
    `largest pass ${gigabytes(pass)}`,
  ];
  const verb = { train: 'training', score: 'running', generate: 'generating with' }[use.kind];
  const trained = adapter === undefined ? '' : `an adapter of ${count(adapterParameters)} parameters on `;
  const notCounted =
    mapped > 0 && mapping === 'is free'
      ? ` (not the ${gigabytes(mapped)} of weights, which are mapped from their file)`
      : '';
  const dtype = mapped > 0 ? '' : weights < 4 * parameters ? ' in bfloat16' : ' in float32';
  const text = `${printable(folder)}: ${verb} ${trained}${count(parameters)} parameters${dtype} takes ${parts.join(', ')}${notCounted}`;
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
 * @param trained the parameters that are trained, which are in memory already
 */
export function activationBudget(
  trained: Parameters<typeof trainingBytes>[0],
  memory: { readonly available: number; readonly mapped: number; readonly stateBytes?: StateBytes | undefined },
): number {
  const { available, mapped, stateBytes } = memory;
  return Math.max(0, (available - mapped - trainingBytes(trained, stateBytes)) / 2);
}

/** The largest pass of a command that runs pairs one at a time, or of a training with micro-batches of `batchSize` pairs. */
export function largestPass(
  pairs: readonly TokenPair[],
  { batchSize = 1, maxTokens = 0 }: { readonly batchSize?: number; readonly maxTokens?: number } = {},
): { readonly tokens: number; readonly answerTokens: number } {
  const lengths = pairs.map(({ prompt, chosen, rejected }) => {
    const answerTokens = chosen.length + rejected.length;
    return { tokens: prompt.length + answerTokens, answerTokens };
  });
  lengths.sort((a, b) => b.tokens - a.tokens);
  const largest = { tokens: 0, answerTokens: 0 };
  for (const [i, { tokens, answerTokens }] of lengths.entries()) {
    const fits = maxTokens > 0 ? i === 0 || largest.tokens + tokens <= maxTokens : i < batchSize;
    if (!fits) break;
    largest.tokens += tokens;
    largest.answerTokens += answerTokens;
  }
  return largest;
}
