import { breathe } from './breathe';
import { TrainingError } from './errors';
import { evaluationMetrics, type MetricsRow } from './metrics';
import { type PairResult, runMicroBatch } from './micro-batch';
import type { PairLoss } from './pair-loss';
import { type PairSource, pairAt } from './pairs';
import type { Policy } from './policy';
import { lookUpReference, type Reference, referenceOf } from './reference';
import type { StopSignal } from './stop-signal';

export interface EvaluateOptions {
  readonly policy: Policy;
  /** Held-out pairs. */
  readonly pairs: PairSource;
  /** May be absent where the loss looks at none. */
  readonly reference?: Reference;
  readonly loss: PairLoss;
  /** Pairs run at once, and ranked among each other by a loss that ranks; 1. */
  readonly batchSize?: number;
  /** Stops between batches. */
  readonly signal?: StopSignal;
  readonly onProgress?: (done: number, total: number) => void;
}

/**
 * Means over held-out pairs, without gradients: `eval_loss`, `eval_rewards/chosen|rejected|accuracies|margins`,
 * `eval_logps/chosen|rejected`, `eval_wpo/weight`. Null where the signal stopped it.
 *
 * @throws TrainingError naming the pair, where a loss is not finite; where the loss looks at a reference and there is none.
 */
export async function evaluate(options: EvaluateOptions): Promise<MetricsRow | null> {
  const { policy, pairs, loss, batchSize = 1, signal, onProgress } = options;
  const reference = referenceOf(loss, options.reference);
  if (pairs.length === 0) throw new TrainingError('there are no pairs to evaluate: give at least 1, or no evaluation');
  const results: PairResult[] = [];
  while (results.length < pairs.length) {
    const size = Math.min(batchSize, pairs.length - results.length);
    const indices = Array.from({ length: size }, (_, i) => results.length + i);
    const batch = indices.map((index) => pairAt(pairs, index));
    const references = reference && (await lookUpReference(reference, indices, batch));
    results.push(...(await runMicroBatch({ policy, batch: { pairs: batch, references }, loss })));
    onProgress?.(results.length, pairs.length);
    await breathe();
    if (signal?.aborted && results.length < pairs.length) return null;
  }
  return evaluationMetrics(results);
}
