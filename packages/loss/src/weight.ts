import * as tf from '@tensorflow/tfjs-core';
import { type Alignment, type AnswerTokens, answerScores, checkAnswer } from './answer';
import { detached } from './gradient';

/** Both answers of each pair; their lengths may differ, the number of pairs may not. */
export interface PairTokens {
  chosen: AnswerTokens;
  rejected: AnswerTokens;
}

export interface WeightOptions {
  /** What token log-probs are measured against. Default `sampled`. */
  alignment?: Alignment;
  /** Whether a weight is held to at most 1. Default true, as in the authors' code; false is TRL's form. */
  clamp?: boolean;
}

/**
 * The WPO weight of each pair, w = min(1, exp(s(y_w) + s(y_l))): near 1 where the policy could have written both answers
 * itself, near 0 where they are far from what it writes (arXiv 2406.11827). No gradient flows through it.
 *
 * @returns `[B]`, 0 < w, and w ≤ 1 unless `clamp` is false; the caller's to dispose.
 * @throws where shapes do not match, an answer has no tokens, the alignment is unknown or its term is missing.
 */
export function wpoWeights(pair: PairTokens, options: WeightOptions = {}): tf.Tensor1D {
  const { alignment = 'sampled', clamp = true } = options;
  const { chosen, rejected } = pair;
  const terms = [
    checkAnswer('wpoWeights', 'chosen.', chosen, alignment),
    checkAnswer('wpoWeights', 'rejected.', rejected, alignment),
  ];
  if (chosen.logps.shape[0] !== rejected.logps.shape[0]) {
    throw new Error(
      `wpoWeights: chosen has ${chosen.logps.shape[0]} answers and rejected has ${rejected.logps.shape[0]}, ` +
        'but a pair is one of each.',
    );
  }
  return detached([chosen.logps, rejected.logps, ...terms.filter((term) => term !== undefined)], () => {
    const score = tf.add<tf.Tensor1D>(answerScores(chosen, alignment), answerScores(rejected, alignment)); // [B]
    // Not tf.minimum: some backends' minimum of NaN and 0 is 0, which would pass a broken pair off with full weight.
    return tf.exp(clamp ? tf.where(tf.greater(score, 0), 0, score) : score);
  });
}
