import { packsOf, tokensOf } from './draw';
import { TrainingError } from './errors';
import { runMicroBatch } from './micro-batch';
import type { PairLoss } from './pair-loss';
import { type PairSource, pairAt } from './pairs';
import type { Policy } from './policy';
import { lookUpReference, type Reference } from './reference';

export interface RehearsalOptions {
  readonly policy: Policy;
  readonly loss: PairLoss;
  readonly pairs: PairSource;
  /** Absent where the loss looks at none. */
  readonly reference?: Reference;
  readonly batchSize?: number;
  readonly maxTokensPerPack?: number;
}

/**
 * Runs the longest pairs that a step can hold at once there and back, and forgets the gradient: the most memory that
 * training will ask for is asked for now, and not after hours.
 *
 * @throws TrainingError naming the longest pair, where they cannot be run
 */
export async function rehearse({ policy, loss, pairs, reference, ...cut }: RehearsalOptions): Promise<void> {
  const all = Array.from({ length: pairs.length }, (_, index) => ({ index, tokens: tokensOf(pairAt(pairs, index)) }));
  all.sort((a, b) => b.tokens - a.tokens || a.index - b.index);
  const { batchSize = 1, maxTokensPerPack } = cut;
  const longest = maxTokensPerPack ? packsOf(all, maxTokensPerPack)[0]! : all.slice(0, batchSize);
  const indices = longest.map(({ index }) => index);
  const drawn = indices.map((index) => pairAt(pairs, index));
  try {
    const references = reference && (await lookUpReference(reference, indices, drawn));
    await runMicroBatch({ policy, loss, batch: { pairs: drawn, references }, lossScale: 1 / drawn.length });
  } catch (error) {
    if (error instanceof TrainingError) throw error;
    throw new TrainingError(
      `the longest pair, "${drawn[0]!.id}" of ${tokensOf(drawn[0]!)} tokens, could not be run before the first step: ` +
        `${(error as Error).message}. Where memory ran out, lower max_length, batch size or max_tokens_per_pack, or set ` +
        'activation_checkpointing: always.',
      { pairId: drawn[0]!.id, cause: error },
    );
  } finally {
    for (const parameter of policy.parameters) parameter.zeroGradient();
  }
}
