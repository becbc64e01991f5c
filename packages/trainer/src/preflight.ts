import { packByTokens } from './batches';
import { NonFiniteError, StepStopped, TrainingError } from './errors';
import { type StopSignal, stopPause } from './event-loop';
import { type GradientOffload, moveGradients } from './gradient-offload';
import { type MicroBatch, runMicroBatch, runMicroBatches } from './micro-batch';
import type { PairLoss } from './pair-loss';
import { type PairSource, type Policy, pairAt, pairLength, zeroGradients } from './policy';
import { lookUpReference, type Reference } from './reference';

/** How a run divides its pairs into passes. */
interface PassOptions {
  readonly batchSize?: number;
  readonly gradientAccumulationSteps?: number;
  readonly maxTokensPerPack?: number;
}

export interface LongestPassOptions extends PassOptions {
  /** Whether all micro-batches of a step run in one pass. Default false. */
  readonly layerMajor?: boolean;
}

export interface PreflightOptions extends PassOptions {
  readonly optimizerInBackward?: boolean;
  readonly offloadGradients?: GradientOffload;
  readonly policy: Policy;
  readonly loss: PairLoss;
  readonly pairs: PairSource;
  /** Absent where the loss needs none. */
  readonly reference?: Reference;
  /** Above 0, a loss that is not finite is left to the training, which may skip its step. */
  readonly skipNonfinite?: number;
  /** Once aborted, the passes are given up. */
  readonly signal?: StopSignal;
}

/** The indices of the pairs of the longest pass that training can meet, by micro-batch. The longest pair is the first. */
export function longestPass(pairs: PairSource, options: LongestPassOptions): number[][] {
  const { batchSize = 1, gradientAccumulationSteps = 1, maxTokensPerPack, layerMajor = false } = options;
  const all = Array.from({ length: pairs.length }, (_, index) => ({ index, tokens: pairLength(pairAt(pairs, index)) }));
  all.sort((a, b) => b.tokens - a.tokens || a.index - b.index);
  const step = all.slice(0, batchSize * gradientAccumulationSteps);
  const starts = Array.from({ length: Math.ceil(step.length / batchSize) }, (_, i) => i * batchSize);
  const microBatches = maxTokensPerPack
    ? packByTokens(step, maxTokensPerPack)
    : starts.map((start) => step.slice(start, start + batchSize));
  const passes = layerMajor ? microBatches : microBatches.slice(0, 1);
  return passes.map((batch) => batch.map(({ index }) => index));
}

/**
 * Runs the forward and backward pass of the longest pass that training can meet, and discards the gradient. Training then
 * reaches its peak memory before the first step instead of after hours.
 *
 * @throws TrainingError naming the longest pair, where the pass fails.
 */
export async function preflight(options: PreflightOptions): Promise<void> {
  const { policy, loss, pairs, reference, skipNonfinite = 0, optimizerInBackward = false, offloadGradients } = options;
  const layerMajor = optimizerInBackward || offloadGradients !== undefined;
  const longest = longestPass(pairs, { ...options, layerMajor });
  const pause = stopPause(options.signal);
  const passes = { policy, loss, lossScale: 1 / longest.flat().length, pause };
  try {
    const batches: MicroBatch[] = [];
    for (const indices of longest) {
      const batch = indices.map((index) => pairAt(pairs, index));
      batches.push({ pairs: batch, references: reference && (await lookUpReference(reference, indices, batch)) });
    }
    const gradientsReady = offloadGradients ? moveGradients(offloadGradients) : zeroGradients;
    if (layerMajor) await runMicroBatches({ ...passes, batches, gradientsReady });
    else await runMicroBatch({ ...passes, batch: batches[0]! });
  } catch (error) {
    if (error instanceof StepStopped || (error instanceof NonFiniteError && skipNonfinite > 0)) return;
    if (error instanceof TrainingError) throw error;
    const pair = pairAt(pairs, longest[0]![0]!);
    const [id, tokens] = [pair.id, pairLength(pair)];
    throw new TrainingError(
      `pair "${id}": the longest pair (${tokens} tokens) failed before the first step: ${(error as Error).message}. If memory ` +
        'ran out, lower max_length, per_device_train_batch_size or max_tokens_per_pack, or set activation_checkpointing: always.',
      { pairId: id, cause: error },
    );
  } finally {
    zeroGradients(policy.parameters);
    offloadGradients?.clear();
  }
}
