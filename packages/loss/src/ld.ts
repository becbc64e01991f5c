import * as tf from '@tensorflow/tfjs-core';
import { type AnswerTokens, checkPair, lengths, type PairTokens, sumLogps } from './answer';
import { mul } from './ops';
import { checkRange } from './range';

/** log π of both answers of each pair, each `[B]`. */
export type PairLogps = {
  chosen: tf.Tensor1D;
  rejected: tf.Tensor1D;
};

/**
 * LD-DPO's log-probs (arXiv 2409.06411): of the longer answer, tokens past the shorter one's length count α
 * times. To be taken of the policy and of the reference alike, in place of `sumLogps`.
 *
 * @param alpha 0 (tokens past the shared length count nothing) to 1 (`sumLogps`).
 * @returns each `[B]`, differentiable in both answers' `logps`; the caller's to dispose.
 */
export function ldLogps(pair: PairTokens, alpha: number): PairLogps {
  checkRange('ldLogps', 'alpha', alpha, [0, 1]);
  const { chosen, rejected } = pair;
  checkPair('ldLogps', pair, 'none');
  return tf.tidy(() => {
    const shared = tf.expandDims(tf.minimum(lengths(chosen), lengths(rejected)), 1); // [B, 1]
    const ofAnswer = (tokens: AnswerTokens) => {
      const place = tf.cumsum(tf.cast(tokens.mask, 'float32'), 1); // [B, T], 1 at an answer's first token
      const factors = tf.where<tf.Tensor2D>(tf.lessEqual(place, shared), 1, alpha);
      return sumLogps({ ...tokens, logps: mul(tokens.logps, factors) });
    };
    return { chosen: ofAnswer(chosen), rejected: ofAnswer(rejected) };
  });
}
