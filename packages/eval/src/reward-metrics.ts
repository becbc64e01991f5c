/** Log-probs of a pair's answers, in nats, each summed over the answer's tokens. */
export interface PairLogps {
  readonly chosen: number;
  readonly rejected: number;
}

/** Log-probs of held-out pairs under the model and under its reference, entry for entry. */
export interface HeldOutLogps {
  readonly pairs: readonly { readonly chosen: ArrayLike<number>; readonly rejected: ArrayLike<number> }[];
  readonly policy: readonly PairLogps[];
  /** Absent where there is no reference: log-ratios are then log-probs. */
  readonly reference?: readonly PairLogps[];
}

/** Means over held-out pairs. */
export interface RewardMetrics {
  readonly n_pairs: number;
  /** Implicit rewards β (log π − log π_ref); β log π without a reference. */
  readonly 'rewards/chosen': number;
  readonly 'rewards/rejected': number;
  /** Share of pairs whose chosen answer has the higher reward, from 0 to 1; a tie counts as wrong, as in TRL. */
  readonly 'rewards/accuracies': number;
  readonly 'rewards/margins': number;
  readonly 'logps/chosen': number;
  readonly 'logps/rejected': number;
  /**
   * log π − log π_ref per token of the pairs' own answers. No KL divergence, since these answers are no draws of the
   * model: negative where the model has moved away from them.
   */
  readonly 'log_ratio_per_token/chosen'?: number;
  readonly 'log_ratio_per_token/rejected'?: number;
}

/** How the implicit rewards of held-out pairs are. */
export function rewardMetrics({ pairs, policy, reference }: HeldOutLogps, beta: number): RewardMetrics {
  const ratios = (side: 'chosen' | 'rejected') => policy.map((own, i) => own[side] - (reference?.[i]?.[side] ?? 0));
  const [chosen, rejected] = [ratios('chosen'), ratios('rejected')];
  const perToken = (side: 'chosen' | 'rejected', values: readonly number[]) =>
    sum(values) / sum(pairs.map((pair) => pair[side].length));
  return {
    n_pairs: pairs.length,
    'rewards/chosen': beta * mean(chosen),
    'rewards/rejected': beta * mean(rejected),
    'rewards/accuracies': mean(chosen.map((value, i) => (value > rejected[i]! ? 1 : 0))),
    'rewards/margins': beta * (mean(chosen) - mean(rejected)),
    'logps/chosen': mean(policy.map((own) => own.chosen)),
    'logps/rejected': mean(policy.map((own) => own.rejected)),
    ...(reference && {
      'log_ratio_per_token/chosen': perToken('chosen', chosen),
      'log_ratio_per_token/rejected': perToken('rejected', rejected),
    }),
  };
}

/** How far the model has gone from its reference, in nats. */
export interface KlMetrics {
  /**
   * KL(π ‖ π_ref) of whole answers to the held-out prompts, estimated without bias from answers that the model itself
   * drew at temperature 1: the mean over answers of Σ_t (r_t − 1 − log r_t), r_t = π_ref / π of token t. Answers end where
   * drawing ended. Schulman's third estimator (http://joschu.net/blog/kl-approx.html), which is never below 0.
   */
  readonly kl: number;
  readonly kl_standard_error: number;
  /** The same sums over all tokens that were drawn. */
  readonly kl_per_token: number;
  readonly n_kl_answers: number;
}

/** log p of each token of each answer that the model drew, under the model and under its reference. */
export interface DrawnLogps {
  readonly policy: readonly ArrayLike<number>[];
  readonly reference: readonly ArrayLike<number>[];
}

/** @param drawn at least two answers */
export function klMetrics({ policy, reference }: DrawnLogps): KlMetrics {
  const terms = policy.map((answer, i) => Array.from(answer, (logp, t) => excess(reference[i]![t]! - logp)));
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

/** r − 1 − log r of log r. */
const excess = (logRatio: number) => Math.expm1(logRatio) - logRatio;

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);

const mean = (values: readonly number[]) => sum(values) / values.length;
