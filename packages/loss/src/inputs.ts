import {
  type LossNeeds,
  type LossSpec,
  type LossType,
  needsOf,
  type PerTokenLossType,
  type RankedLossType,
  type ReferenceFreeLossType,
  readsReference,
} from './loss-table';
import type { Settings } from './options';

// The inputs of losses. T is a tensor, an array or a number; K is the type of KTO's reference point.

/** log π(y) of both answers of each pair under the policy, summed over the answer's tokens. */
export interface PolicyLogps<T> {
  chosenLogps: T;
  rejectedLogps: T;
}

/** log π_ref(y): the same under the reference. */
export interface ReferenceLogps<T> {
  refChosenLogps: T;
  refRejectedLogps: T;
}

/** |y|: the number of tokens of each answer, at least 1. */
export interface AnswerLengths<T> {
  chosenLengths: T;
  rejectedLengths: T;
}

/** The factor of each pair's loss, at least 0: `wpoWeights`, your own weights, or their product. Default 1. */
export interface Weighted<T> {
  weights?: T;
}

/** What a loss of the policy alone reads. */
export type PolicyInput<T> = PolicyLogps<T> & Weighted<T>;

/** What a loss reads that compares the policy with the reference. */
export type ReferenceInput<T> = PolicyInput<T> & ReferenceLogps<T>;

/** z₀: KTO's reference point, at least 0. `klEstimate` computes it. */
export interface ReferencePoint<K> {
  kl: K;
}

/** The inputs of all losses. */
export type PairInput<T, K> = PolicyInput<T> &
  Partial<ReferenceLogps<T>> &
  Partial<AnswerLengths<T>> &
  Partial<ReferencePoint<K>>;

/** The inputs with one value per pair. */
export type Column = Exclude<keyof PairInput<unknown, unknown>, 'kl'>;

/** The inputs that the losses `L` need. With a literal type, a missing reference does not compile. */
export type PreferenceInput<T, K, L extends LossType, Free> = PolicyLogps<T> & { kl?: K } & ([
    Extract<L, RankedLossType>,
  ] extends [never]
    ? Weighted<T>
    : LossType extends L
      ? Weighted<T>
      : { weights?: undefined }) &
  (Free extends true
    ? Partial<ReferenceLogps<T>>
    : [Exclude<L, ReferenceFreeLossType>] extends [never]
      ? Partial<ReferenceLogps<T>>
      : ReferenceLogps<T>) &
  ([Extract<L, PerTokenLossType>] extends [never] ? Partial<AnswerLengths<T>> : AnswerLengths<T>);

/**
 * The names of the inputs that losses read, weights included where they are given.
 *
 * @throws where a loss does not take an option, KTO's reference point is missing, or a ranked loss is given weights.
 */
export function requiredColumns(
  specs: readonly LossSpec[],
  settings: Settings,
  given: Partial<PairInput<unknown, unknown>>,
): Column[] {
  const { where } = settings;
  const needs: LossNeeds = needsOf(specs, settings);
  if (needs.kl && given.kl === undefined) {
    throw new Error(`${where}: kl: expected KTO's reference point (see klEstimate), found none.`);
  }
  if (needs.batch && given.weights) {
    throw new Error(`${where}: weights: expected none with aot, which compares quantiles of a batch, found weights.`);
  }
  return [
    'chosenLogps',
    'rejectedLogps',
    ...(needs.reference ? (['refChosenLogps', 'refRejectedLogps'] as const) : []),
    ...(needs.lengths ? (['chosenLengths', 'rejectedLengths'] as const) : []),
    ...(given.weights ? (['weights'] as const) : []),
  ];
}

/** The part of a loss's spec that says how one number per answer is computed from its log-probs. */
export type Measure = Pick<LossSpec, 'reference' | 'divergence' | 'ranks'> & { readonly perToken?: boolean };

/** A loss's measure under these options. */
export const measureOf = (spec: LossSpec, settings: Settings): Measure => ({
  ...spec,
  reference: readsReference(spec, settings),
});

/** The measure that β multiplies in a reward: the log-ratio where any loss reads the reference, else that of the first loss. */
export function rewardMeasure(specs: readonly LossSpec[], settings: Settings): Measure {
  const reference = specs.some((spec) => readsReference(spec, settings));
  return { reference, perToken: !reference && specs[0]!.perToken };
}
