import { packByTokens } from './batches';
import { NonFiniteError, StepStopped, TrainingError } from './errors';
import { type StopSignal, stopPause } from './event-loop';
import { runMicroBatch } from './micro-batch';
import type { PairLoss } from './pair-loss';
import { type PairSource, type Policy, pairAt, pairLength } from './policy';
import { lookUpReference, type Reference } from './reference';

export interface PreflightOptions {
  readonly policy: Policy;
  readonly loss: PairLoss;
  readonly pairs: PairSource;
  /** Absent where the loss needs none. */
  readonly reference?: Reference;
  readonly batchSize?: number;
  readonly maxTokensPerPack?: number;
  /** Above 0, a loss that is not finite is left to the training, which may skip its step. */
  readonly skipNonfinite?: number;
  /** Once aborted, the passes are given up. */
  readonly signal?: StopSignal;
}

/** The indices of the pairs of the longest micro-batch that training can meet. The longest pair is the first. */
export function longestMicroBatch(
  pairs: PairSource,
  { batchSize = 1, maxTokensPerPack }: Pick<PreflightOptions, 'batchSize' | 'maxTokensPerPack'>,
): number[] {
  const all = Array.from({ length: pairs.length }, (_, index) => ({ index, tokens: pairLength(pairAt(pairs, index)) }));
  all.sort((a, b) => b.tokens - a.tokens || a.index - b.index);
  const longest = maxTokensPerPack ? packByTokens(all, maxTokensPerPack)[0]! : all.slice(0, batchSize);
  return longest.map(({ index }) => index);
}

/**
 * Runs the forward and backward pass of the longest micro-batch that training can meet, and discards the gradient. Training then
 * reaches its peak memory before the first step instead of after hours.
 *
 * @throws TrainingError naming the longest pair, where the passes fail.
 */
export async function preflight(options: PreflightOptions): Promise<void> {
  const { policy, loss, pairs, reference, batchSize = 1, maxTokensPerPack, skipNonfinite = 0 } = options;
  const indices = longestMicroBatch(pairs, { batchSize, maxTokensPerPack });
  const batch = indices.map((index) => pairAt(pairs, index));
  try {
    const references = reference && (await lookUpReference(reference, indices, batch));
    const pause = stopPause(options.signal);
    await runMicroBatch({ policy, loss, batch: { pairs: batch, references }, lossScale: 1 / batch.length, pause });
  } catch (error) {
    if (error instanceof StepStopped || (error instanceof NonFiniteError && skipNonfinite > 0)) return;
    if (error instanceof TrainingError) throw error;
    const { id } = batch[0]!;
    const tokens = pairLength(batch[0]!);
    throw new TrainingError(
      `pair "${id}": the longest pair (${tokens} tokens) failed before the first step: ${(error as Error).message}. If memory ` +
        'ran out, lower max_length, per_device_train_batch_size or max_tokens_per_pack, or set activation_checkpointing: always.',
      { pairId: id, cause: error },
    );
  } finally {
    for (const parameter of policy.parameters) parameter.zeroGradient();
  }
}
