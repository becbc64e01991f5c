import { checkNumber } from './check-number';
import { StepStopped, TrainingError } from './errors';
import { type StopSignal, stopPause, yieldToEventLoop } from './event-loop';
import { evaluationMetrics, type MetricsRow } from './metrics';
import { runMicroBatch } from './micro-batch';
import type { PairLoss, PairResult } from './pair-loss';
import { type PairSource, type Policy, pairAt } from './policy';
import { lookUpReference, type Reference, referenceOf } from './reference';

export interface EvaluateOptions {
  readonly policy: Policy;
  /** Held-out pairs. */
  readonly pairs: PairSource;
  /** May be absent where the loss needs none. */
  readonly reference?: Reference;
  readonly loss: PairLoss;
  /** Pairs of one forward pass, which a loss with `needsBatch` ranks. Default 1. */
  readonly batchSize?: number;
  /** Stops between layers and batches. */
  readonly signal?: StopSignal;
  readonly onProgress?: (done: number, total: number) => void;
}

/**
 * Means over held-out pairs, without gradients: `eval_loss`, `eval_rewards/chosen|rejected|accuracies|margins`,
 * `eval_logps/chosen|rejected`, `eval_wpo/weight`.
 *
 * @returns null where the signal stopped it.
 * @throws TrainingError naming the pair, where a loss is not finite; where the loss needs a reference and none is given.
 */
export async function evaluate(options: EvaluateOptions): Promise<MetricsRow | null> {
  const results = await evaluatePairs(options);
  return results && evaluationMetrics(results);
}

/** The results of each held-out pair; null where the signal stopped it. */
export async function evaluatePairs(options: EvaluateOptions): Promise<PairResult[] | null> {
  const { policy, pairs, loss, batchSize = 1, signal, onProgress } = options;
  const reference = referenceOf(loss, options.reference);
  checkHeldOut(pairs);
  checkNumber('batchSize', batchSize);
  const results: PairResult[] = [];
  const pause = stopPause(signal);
  while (results.length < pairs.length) {
    const size = Math.min(batchSize, pairs.length - results.length);
    const indices = Array.from({ length: size }, (_, i) => results.length + i);
    const batch = indices.map((index) => pairAt(pairs, index));
    try {
      const references = reference && (await lookUpReference(reference, indices, batch));
      results.push(...(await runMicroBatch({ policy, batch: { pairs: batch, references }, loss, pause })));
    } catch (error) {
      if (error instanceof StepStopped) return null;
      throw error;
    }
    onProgress?.(results.length, pairs.length);
    await yieldToEventLoop();
    if (signal?.aborted && results.length < pairs.length) return null;
  }
  return results;
}

/** @throws TrainingError where there is no pair to evaluate. */
export function checkHeldOut(pairs: PairSource): void {
  if (pairs.length > 0) return;
  throw new TrainingError('evaluation: expected at least one pair, found none. Give pairs, or turn evaluation off.');
}
