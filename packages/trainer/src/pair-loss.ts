// B pairs, T the longest answer's tokens.
import * as tf from '@tensorflow/tfjs-core';
import { type DpoOptions, type WeightOptions, wpoLoss, wpoWeights } from '@wpo/loss';
import type { PaddedAnswers } from './pad';

/** What a loss is told of a micro-batch of pairs. */
export interface PairLossInput {
  /** Token by token under the policy; each `[B, T]`. */
  readonly chosen: PaddedAnswers;
  readonly rejected: PaddedAnswers;
  /** log π(y): the sum over an answer's tokens, `[B]`. */
  readonly chosenLogps: tf.Tensor1D;
  readonly rejectedLogps: tf.Tensor1D;
  /** log π_ref(y), `[B]`. */
  readonly refChosenLogps: tf.Tensor1D;
  readonly refRejectedLogps: tf.Tensor1D;
  /** The pairs' own weights from the data, `[B]`; 1 where a pair has none. */
  readonly pairWeights: tf.Tensor1D;
}

/** What a loss says of a micro-batch; each `[B]`, unreduced. */
export interface PairLossOutput {
  /** What the gradient is taken of, the weight included. */
  readonly losses: tf.Tensor1D;
  /** The factor by which each pair counts in `losses`. */
  readonly weights: tf.Tensor1D;
  /** Implicit rewards β (log π − log π_ref). */
  readonly chosenRewards: tf.Tensor1D;
  readonly rejectedRewards: tf.Tensor1D;
}

/**
 * A loss over pairs: called inside `tf.grad` with respect to the policy's per-token log-probs, so it must be made of
 * differentiable tfjs operations, and dispose nothing.
 */
export type PairLoss = (input: PairLossInput) => PairLossOutput;

export interface WpoPairLossOptions extends DpoOptions, WeightOptions {}

/**
 * The WPO loss (arXiv 2406.11827, equation 4, with the alignment of its section 3.2): DPO's loss of each pair times
 * how likely the policy itself would be to write the pair, times the pair's weight from the data.
 */
export function wpoPairLoss(options: WpoPairLossOptions = {}): PairLoss {
  return ({ chosen, rejected, pairWeights, ...logps }) => {
    const weights = tf.mul(wpoWeights({ chosen, rejected }, options), pairWeights) as tf.Tensor1D; // [B]
    const { losses, chosenRewards, rejectedRewards } = wpoLoss({ ...logps, weights }, options);
    return { losses, weights, chosenRewards, rejectedRewards };
  };
}
