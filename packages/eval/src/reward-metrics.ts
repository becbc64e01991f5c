/** Log-probs of a pair's two answers, in nats, each the sum over the answer's tokens. */
export interface PairLogps {
  readonly chosen: number;
  readonly rejected: number;
}

/** Log-probs of held-out pairs under the model and under its reference. All lists are in the same order. */
export interface HeldOutLogps {
  /** The tokens of the answers; only their numbers are read. */
  readonly pairs: readonly { readonly chosen: ArrayLike<number>; readonly rejected: ArrayLike<number> }[];
  readonly policy: readonly PairLogps[];
  /** Without a reference, log-probs take the place of log-ratios. */
  readonly reference?: readonly PairLogps[];
}

/** Means over held-out pairs, under TRL's names. */
export interface RewardMetrics {
  readonly n_pairs: number;
  /** Implicit rewards β (log π − log π_ref), or β log π without a reference. */
  readonly 'rewards/chosen': number;
  readonly 'rewards/rejected': number;
  /** Share of pairs whose chosen answer has the higher reward, from 0 to 1. A tie counts as wrong, as in TRL. */
  readonly 'rewards/accuracies': number;
  readonly 'rewards/margins': number;
  readonly 'logps/chosen': number;
  readonly 'logps/rejected': number;
  /**
   * log π − log π_ref per token of the pairs' answers. This is no estimate of a KL divergence, because the model did not
   * sample these answers: it is negative where the model has moved away from them.
   */
  readonly 'log_ratio_per_token/chosen'?: number;
  readonly 'log_ratio_per_token/rejected'?: number;
}

/**
 * Implicit rewards of held-out pairs (Rafailov et al., arXiv 2305.18290).
 *
 * @param beta the factor β of log-ratios, above 0
 */
export function rewardMetrics({ pairs, policy, reference }: HeldOutLogps, beta: number): RewardMetrics {
  const logRatios = (side: keyof PairLogps) => policy.map((logps, i) => logps[side] - (reference?.[i]?.[side] ?? 0));
  const [chosen, rejected] = [logRatios('chosen'), logRatios('rejected')];
  const perToken = (side: keyof PairLogps, values: readonly number[]) =>
    sum(values) / sum(pairs.map((pair) => pair[side].length));
  return {
    n_pairs: pairs.length,
    'rewards/chosen': beta * mean(chosen),
    'rewards/rejected': beta * mean(rejected),
    'rewards/accuracies': mean(chosen.map((value, i) => (value > rejected[i]! ? 1 : 0))),
    'rewards/margins': beta * (mean(chosen) - mean(rejected)),
    'logps/chosen': mean(policy.map((logps) => logps.chosen)),
    'logps/rejected': mean(policy.map((logps) => logps.rejected)),
    ...(reference && {
      'log_ratio_per_token/chosen': perToken('chosen', chosen),
      'log_ratio_per_token/rejected': perToken('rejected', rejected),
    }),
  };
}

/** KL divergence of a model from its reference, in nats. */
export interface KlMetrics {
  /**
   * KL(π ‖ π_ref) of whole answers, estimated without bias from answers that the model itself sampled at temperature 1:
   * the mean over answers of Σ_t (r_t − 1 − log r_t) with r_t = π_ref / π of token t. This is Schulman's estimator k3
   * (http://joschu.net/blog/kl-approx.html), which is never negative. An answer that was cut off counts up to the cut.
   */
  readonly kl: number;
  readonly kl_standard_error: number;
  /** The sum over all sampled tokens, divided by their number. */
  readonly kl_per_token: number;
  readonly n_kl_answers: number;
}

/** Log-probs of sampled answers under the model that sampled them and under its reference: one list of tokens per answer. */
export interface SampledLogps {
  readonly policy: readonly ArrayLike<number>[];
  readonly reference: readonly ArrayLike<number>[];
}

/** Estimates the KL divergence of a model from its reference. @param logps of at least two answers */
export function klMetrics({ policy, reference }: SampledLogps): KlMetrics {
  const terms = policy.map((answer, i) => Array.from(answer, (logp, t) => k3(reference[i]![t]! - logp)));
  const sums = terms.map(sum);
  const kl = mean(sums);
  const variance = sum(sums.map((value) => (value - kl) ** 2)) / (sums.length - 1);
  return {
    kl,
    kl_standard_error: Math.sqrt(variance / sums.length),
    kl_per_token: sum(sums) / sum(terms.map((answer) => answer.length)),
    n_kl_answers: sums.length,
  };
}

/** r − 1 − log r, from log r. */
const k3 = (logRatio: number) => Math.expm1(logRatio) - logRatio;

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);

const mean = (values: readonly number[]) => sum(values) / values.length;
