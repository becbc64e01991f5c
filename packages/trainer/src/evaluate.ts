import { checkNumber } from './check-number';
import { inRounds, readResults, resultNumbers } from './data-parallel';
import { StepStopped, TrainingError } from './errors';
import { type StopSignal, stopPause, yieldToEventLoop } from './event-loop';
import { type Group, soloGroup } from './group';
import { evaluationMetrics, type MetricsRow } from './metrics';
import { runMicroBatch } from './micro-batch';
import type { PairLoss, PairResult } from './pair-loss';
import { type PairSource, type Policy, pairAt, pairLength } from './policy';
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
  /** Processes that divide the pairs among them. Default: this process alone. */
  readonly group?: Group;
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
  const { policy, pairs, loss, batchSize = 1, signal, onProgress, group = soloGroup } = options;
  const reference = referenceOf(loss, options.reference);
  checkHeldOut(pairs);
  checkNumber('batchSize', batchSize);
  const results: PairResult[] = [];
  const pause = stopPause(signal);
  const starts = Array.from({ length: Math.ceil(pairs.length / batchSize) }, (_, i) => i * batchSize);
  const indicesFrom = (start: number) =>
    Array.from({ length: Math.min(batchSize, pairs.length - start) }, (_, i) => start + i);
  const batchOf = (start: number) => indicesFrom(start).map((index) => pairAt(pairs, index));
  try {
    await inRounds({
      ...{ group, items: starts, what: 'results of held-out pairs' },
      cost: (start) => batchOf(start).reduce((total, pair) => total + pairLength(pair), 0),
      width: (start) => resultNumbers(indicesFrom(start).length, []).length,
      async work(start) {
        const batch = batchOf(start);
        const references = reference && (await lookUpReference(reference, indicesFrom(start), batch));
        const own = await runMicroBatch({ policy, batch: { pairs: batch, references }, loss, pause });
        return resultNumbers(batch.length, [...own.entries()]);
      },
      async onResults(now, numbers) {
        for (const [i, start] of now.entries()) {
          const ids = batchOf(start).map(({ id }) => id);
          results.push(...readResults(ids, numbers[i]!));
        }
        onProgress?.(results.length, pairs.length);
        await yieldToEventLoop();
        return signal?.aborted !== true;
      },
    });
  } catch (error) {
    if (error instanceof StepStopped) return null;
    throw error;
  }
  return results.length < pairs.length ? null : results;
}

/** @throws TrainingError where there is no pair to evaluate. */
export function checkHeldOut(pairs: PairSource): void {
  if (pairs.length > 0) return;
  throw new TrainingError('evaluation: expected at least one pair, found none. Give pairs, or turn evaluation off.');
}
