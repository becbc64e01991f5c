import * as tf from '@tensorflow/tfjs-core';
import { checkFloats, checkShape } from './checks';
import { constant, stopGradient } from './gradient';
import { measured, sumOfTerms, type TensorInput } from './measured';
import { columns, rewardNeeds } from './needs';
import { mul } from './ops';
import type { Settings } from './settings';
import type { Measure, Term } from './term';

/** Per pair, unreduced; each `[B]`, and the caller's to dispose. */
export type LossResult = {
  /** Weight times loss. Differentiable in all log-probs given. */
  losses: tf.Tensor1D;
  /** Before weighting. Differentiable. */
  unweightedLosses: tf.Tensor1D;
  /** As given, or 1. No gradient. */
  weights: tf.Tensor1D;
  /** Δ, what `margins` is β times. Differentiable. */
  deltas: tf.Tensor1D;
  /** β (log π(y_w) − log π_ref(y_w)): the chosen answer's implicit reward; without the reference where the loss has none. No gradient. */
  chosenRewards: tf.Tensor1D;
  /** The rejected answer's. No gradient. */
  rejectedRewards: tf.Tensor1D;
  /** Chosen less rejected: by how much the policy has come to prefer the chosen answer. No gradient. */
  margins: tf.Tensor1D;
};

/** The losses of a batch, as `terms` say. */
export function pairLoss(input: TensorInput, terms: readonly Term[], settings: Settings): LossResult {
  const { where, attached, beta } = settings;
  const { chosenLogps, kl } = input;
  const measures = terms.map(({ measure }) => measure);
  checkFloats(where, 'chosenLogps', chosenLogps, 'pairs');
  for (const name of columns(settings, input, measures)) {
    checkShape(where, name, input[name], chosenLogps.shape, name.endsWith('Lengths') ? undefined : 'float32');
  }
  return tf.tidy(() => {
    const pairs = {
      ...input,
      kl: kl === undefined ? kl : constant(() => tf.add<tf.Tensor1D>(tf.zerosLike(chosenLogps), kl)),
    };
    const unweightedLosses = sumOfTerms(pairs, terms);
    const weights = input.weights ?? tf.ones<tf.Rank.R1>(chosenLogps.shape);
    const held = stopGradient(weights);
    const { chosen, rejected, margin } = measured(pairs, rewardNeeds(measures) as Measure);
    const reward = (x: tf.Tensor1D) => tf.mul<tf.Tensor1D>(stopGradient(x), beta);
    return {
      losses: mul(unweightedLosses, attached ? weights : held),
      unweightedLosses,
      weights: held,
      deltas: margin,
      chosenRewards: reward(chosen),
      rejectedRewards: reward(rejected),
      margins: reward(margin),
    };
  });
}
