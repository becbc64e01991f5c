import type * as tf from '@tensorflow/tfjs-core';
import { checkFloats } from './checks';
import type { PolicyLogps, ReferenceLogps } from './inputs';
import { loss } from './losses';
import { sigmoid } from './losses/sigmoid';
import type { LossResult } from './pair-loss';
import type { AttachedOptions, DivergenceOptions, SmoothingOptions } from './settings';

export interface WpoLossInput extends PolicyLogps<tf.Tensor1D>, ReferenceLogps<tf.Tensor1D> {
  /** What each pair counts, `[B]`, float32, at least 0: `wpoWeights`, times weights of your own where you have any. */
  weights: tf.Tensor1D;
}

export type DpoOptions = SmoothingOptions & DivergenceOptions & AttachedOptions;

/** What `dpoLoss` gives, the losses weighted. */
export type WpoLossResult = Omit<LossResult, 'unweightedLosses'> & {
  /** Before weighting. Differentiable. */
  dpoLosses: tf.Tensor1D;
};

/**
 * Weighted Preference Optimization (arXiv 2406.11827): w · (−(1−ε) log σ(βΔ) − ε log σ(−βΔ)), per pair. A batch's loss is
 * the mean over its pairs; weights are not renormalised. No gradient flows through the weights unless `attached`, and a
 * pair of weight 0 has loss 0 even where its DPO loss is infinite.
 *
 * @throws where shapes do not match, there are no pairs, or an option is out of range.
 */
export function wpoLoss(input: WpoLossInput, options: DpoOptions = {}): WpoLossResult {
  checkFloats('wpoLoss', 'weights', input.weights, 'pairs');
  const { unweightedLosses: dpoLosses, ...rest } = loss('wpoLoss', sigmoid, input, options);
  return { ...rest, dpoLosses };
}
