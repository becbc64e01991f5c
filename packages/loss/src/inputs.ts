/** log π(y) of each pair's answers under the policy, summed over answer tokens. */
export interface PolicyLogps<T> {
  chosenLogps: T;
  rejectedLogps: T;
}

/** The same under the reference. */
export interface ReferenceLogps<T> {
  refChosenLogps: T;
  refRejectedLogps: T;
}

/** |y|: each answer's number of tokens, at least 1. */
export interface AnswerLengths<T> {
  chosenLengths: T;
  rejectedLengths: T;
}

/** What each pair counts, at least 0: `wpoWeights`, weights of your own, or both multiplied. 1 if absent. */
export interface Weighted<T> {
  weights?: T;
}

/** z₀, KTO's reference point, at least 0: see `klEstimate`. */
export interface ReferencePoint<K> {
  kl: K;
}

/** All that any loss may be given, before it is known what it needs. */
export type PairInput<T, K> = PolicyLogps<T> &
  Partial<ReferenceLogps<T>> &
  Partial<AnswerLengths<T>> &
  Weighted<T> &
  Partial<ReferencePoint<K>>;
