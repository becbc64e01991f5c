import { estimateMemory, type ModelUse } from '@wpo/gemma';
import { readModelFolder } from '@wpo/gemma/node';
import { printable } from '@wpo/internal/printable';
import type { AvailableMemory } from '@wpo/tensorflow/kernels';
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

/** Set to 0 to load models that do not fit by the estimate. */
const VARIABLE = 'WPO_MEMORY_CHECK';

/**
 * Checks that models fit in memory together, before their weights are read.
 *
 * @throws {UserError} with the numbers, and what would make them fit
 */
export async function checkMemory(
  models: readonly PlannedModel[],
  { availableMemory }: { readonly availableMemory: () => AvailableMemory | undefined },
  terminal: Terminal,
): Promise<void> {
  const available = availableMemory();
  if (available === undefined) return;
  const needs = await Promise.all(models.map(describeNeed));
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
  const trainsAll = models.some(({ use, adapter }) => use.kind === 'train' && adapter === undefined);
  const smaller =
    fixed > available.bytes
      ? trainsAll
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

async function describeNeed({ folder, use, adapter }: PlannedModel) {
  const { config, checkpoint } = await fromInput(() => readModelFolder(folder));
  await checkpoint.close();
  const adapterParameters = adapter === undefined ? 0 : await fromInput(() => countParameters(adapter, config));
  const { parameters, weights, training, cache, pass, total } = estimateMemory(config, use, { adapterParameters });
  const parts = [
    `weights ${gigabytes(weights)}`,
    ...(training > 0 ? [`gradients and AdamW's moments ${gigabytes(training)}`] : []),
    ...(cache > 0 ? [`keys and values of ${describeAnswers(use)} ${gigabytes(cache)}`] : []),
    `largest pass ${gigabytes(pass)}`,
  ];
  const verb = { train: 'training', score: 'running', generate: 'generating with' }[use.kind];
  const trained = adapter === undefined ? '' : `an adapter of ${count(adapterParameters)} parameters on `;
  const text = `${printable(folder)}: ${verb} ${trained}${count(parameters)} parameters in float32 takes ${parts.join(', ')}`;
  return { text, use, total, fixed: weights + training };
}

const describeAnswers = (use: ModelUse) =>
  use.kind === 'generate'
    ? `${use.answers === 1 ? '' : `${use.answers} x `}${use.promptTokens + use.maxNewTokens} tokens`
    : '';

const count = (n: number) => (n < 1e8 ? `${(n / 1e6).toFixed(1)} million` : `${(n / 1e9).toFixed(2)} billion`);

const gigabytes = (bytes: number) => `${(bytes / 1e9).toFixed(bytes < 1e9 ? 2 : 1)} GB`;

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
