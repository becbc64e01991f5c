import * as tf from '@tensorflow/tfjs-core';
import { checkFloats } from './checks';
import { checkDpo, type DpoLossResult, type DpoOptions, dpoLoss, type PreferenceLogps } from './dpo';
import { differentiable, stopGradient } from './gradient';

export interface WpoLossInput extends PreferenceLogps {
  /** What each pair counts, `[B]`, float32, at least 0: `wpoWeights`, times weights of your own where you have any. */
  weights: tf.Tensor1D;
}

/** What `dpoLoss` gives, with `losses` weighted. */
export type WpoLossResult = DpoLossResult & {
  /** Before weighting. Differentiable. */
  dpoLosses: tf.Tensor1D;
  /** As given, without gradient. */
  weights: tf.Tensor1D;
};

/**
 * Weighted Preference Optimization (arXiv 2406.11827): w · (−(1−ε) log σ(βΔ) − ε log σ(−βΔ)), per pair. A batch's loss is
 * the mean over its pairs; weights are not renormalised. No gradient flows through the weights, and a pair of weight 0
 * has loss 0 even where its DPO loss is infinite.
 *
 * @throws where shapes do not match, there are no pairs, or an option is out of range.
 */
export function wpoLoss(input: WpoLossInput, options: DpoOptions = {}): WpoLossResult {
  const { beta = 0.1, labelSmoothing = 0 } = options;
  checkDpo('wpoLoss', input, beta, labelSmoothing);
  checkFloats('wpoLoss', 'weights', input.weights, input.chosenLogps.shape);
  return tf.tidy(() => {
    const { losses: dpoLosses, ...rest } = dpoLoss(input, { beta, labelSmoothing });
    const weights = stopGradient(input.weights);
    return { ...rest, losses: weighted(dpoLosses, weights), dpoLosses, weights };
  });
}

function weighted(losses: tf.Tensor1D, weights: tf.Tensor1D): tf.Tensor1D {
  return differentiable(
    [losses],
    (save) => {
      save([weights]);
      const leftOut = tf.logicalAnd(tf.equal(weights, 0), tf.equal(losses, Infinity));
      return tf.where<tf.Tensor1D>(leftOut, 0, tf.mul(losses, weights));
    },
    (dy, [saved]) => [tf.mul(dy, saved!)],
  );
}
