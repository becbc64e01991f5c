import * as tf from '@tensorflow/tfjs-core';
import { checkFloats } from './checks';
import { detached, differentiable, pointwise } from './gradient';

/** log π(y) of each pair's answers, summed over answer tokens, under policy and reference; each `[B]`, float32. */
export interface PreferenceLogps {
  chosenLogps: tf.Tensor1D;
  rejectedLogps: tf.Tensor1D;
  refChosenLogps: tf.Tensor1D;
  refRejectedLogps: tf.Tensor1D;
}

export interface DpoOptions {
  /** How hard the policy is held to its reference, above 0. Default 0.1. */
  beta?: number;
  /** ε: the share of pairs taken to be labelled the wrong way round, 0 to 0.5. Default 0. */
  labelSmoothing?: number;
}

/** Per pair, unreduced; each `[B]`, and the caller's to dispose. */
export type DpoLossResult = {
  /** Differentiable in all four log-probs. */
  losses: tf.Tensor1D;
  /** Δ = (log π(y_w) − log π_ref(y_w)) − (log π(y_l) − log π_ref(y_l)). Differentiable. */
  deltas: tf.Tensor1D;
  /** β (log π(y_w) − log π_ref(y_w)): the chosen answer's implicit reward. No gradient. */
  chosenRewards: tf.Tensor1D;
  /** β (log π(y_l) − log π_ref(y_l)): the rejected answer's. No gradient. */
  rejectedRewards: tf.Tensor1D;
  /** β Δ: by how much the policy has come to prefer the chosen answer. No gradient. */
  margins: tf.Tensor1D;
};

/**
 * Direct Preference Optimization (arXiv 2305.18290), label-smoothed: −(1−ε) log σ(βΔ) − ε log σ(−βΔ).
 *
 * Where policy and reference both rule an answer out (−∞), its log-ratio counts as 0.
 *
 * @throws where shapes do not match, there are no pairs, or an option is out of range.
 */
export function dpoLoss(logps: PreferenceLogps, options: DpoOptions = {}): DpoLossResult {
  const { beta = 0.1, labelSmoothing = 0 } = options;
  checkDpo('dpoLoss', logps, beta, labelSmoothing);
  return tf.tidy(() => {
    const { chosenLogps, rejectedLogps, refChosenLogps, refRejectedLogps } = logps;
    const deltas = logRatioDeltas(logps);
    const reward = (policy: tf.Tensor1D, reference: tf.Tensor1D) =>
      detached([policy, reference], () => tf.mul<tf.Tensor1D>(difference(policy, reference), beta));
    return {
      losses: sigmoidLoss(deltas, beta, labelSmoothing),
      deltas,
      chosenRewards: reward(chosenLogps, refChosenLogps),
      rejectedRewards: reward(rejectedLogps, refRejectedLogps),
      margins: detached([deltas], () => tf.mul<tf.Tensor1D>(deltas, beta)),
    };
  });
}

/** Refuses what no DPO loss can be made of; `where` names the function that was called. */
export function checkDpo(where: string, logps: PreferenceLogps, beta: number, labelSmoothing: number): void {
  if (!(beta > 0 && beta < Infinity)) {
    throw new Error(`${where}: beta is ${beta}, but a finite number above 0 was wanted; 0.1 is usual.`);
  }
  if (!(labelSmoothing >= 0 && labelSmoothing <= 0.5)) {
    throw new Error(
      `${where}: labelSmoothing is ${labelSmoothing}, but 0 to 0.5 was wanted: the share of pairs labelled wrongly.`,
    );
  }
  checkFloats(where, 'chosenLogps', logps.chosenLogps, 'pairs');
  for (const name of ['rejectedLogps', 'refChosenLogps', 'refRejectedLogps'] as const) {
    checkFloats(where, name, logps[name], logps.chosenLogps.shape);
  }
}

function logRatioDeltas({ chosenLogps, rejectedLogps, refChosenLogps, refRejectedLogps }: PreferenceLogps) {
  return differentiable(
    [chosenLogps, rejectedLogps, refChosenLogps, refRejectedLogps],
    () => difference(difference(chosenLogps, refChosenLogps), difference(rejectedLogps, refRejectedLogps)),
    (dy) => [tf.clone(dy), tf.neg(dy), tf.neg(dy), tf.clone(dy)],
  );
}

function sigmoidLoss(deltas: tf.Tensor1D, beta: number, smoothing: number): tf.Tensor1D {
  return pointwise(
    deltas,
    (delta) => {
      const x = tf.mul<tf.Tensor1D>(delta, beta);
      const right = tf.neg(logSigmoid(x));
      if (smoothing === 0) return right; // 0 · log σ(−∞) would be NaN
      return tf.sub(tf.mul(right, 1 - smoothing), tf.mul(logSigmoid(tf.neg(x)), smoothing));
    },
    (delta) => {
      // β (ε σ(βΔ) − (1−ε) σ(−βΔ))
      const x = tf.mul(delta, beta);
      return tf.mul(tf.sub(tf.mul(tf.sigmoid(x), smoothing), tf.mul(tf.sigmoid(tf.neg(x)), 1 - smoothing)), beta);
    },
  );
}

/** log σ(x) = min(x, 0) − log(1 + exp(−|x|)): no overflow on either side, and as exact as the backend's log1p. */
function logSigmoid<T extends tf.Tensor>(x: T): T {
  return tf.sub(tf.minimum(x, 0), tf.log1p(tf.exp(tf.neg(tf.abs(x)))));
}

/** a − b, and 0 where they are equal: −∞ − −∞ would be NaN. */
function difference(a: tf.Tensor1D, b: tf.Tensor1D): tf.Tensor1D {
  return tf.where<tf.Tensor1D>(tf.equal(a, b), 0, tf.sub(a, b));
}
