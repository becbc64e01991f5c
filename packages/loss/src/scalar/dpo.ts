import { column } from '../column';
import type { PolicyLogps, ReferenceLogps, Weighted } from '../inputs';
import { FROM_0 } from '../range';
import { type DivergenceOptions, type SmoothingOptions, settle } from '../settings';
import { sigmoidLoss } from './losses';
import { type LossResult, pairLoss, type ScalarInput } from './pair-loss';

type Policy<T> = PolicyLogps<T> & Weighted<T>;
type Both<T> = Policy<T> & ReferenceLogps<T>;

export type DpoOptions = SmoothingOptions & DivergenceOptions;

/**
 * Direct Preference Optimization (arXiv 2305.18290), label-smoothed: −(1−ε) log σ(βΔ) − ε log σ(−βΔ).
 *
 * Give one number each for one pair, or arrays of one length. Where policy and reference both rule an answer out (−∞), its
 * log-ratio counts as 0. With `refFree: true` there is no reference, and without it the types refuse its absence.
 *
 * @throws where lengths do not match, a log-prob is NaN or above 0 by more than rounding, there are no pairs, or an option
 * is out of range.
 */
export function dpoLoss(input: Both<number>, options?: DpoOptions & { refFree?: false }): LossResult<number>;
export function dpoLoss(input: Policy<number>, options: DpoOptions & { refFree: true }): LossResult<number>;
export function dpoLoss(
  input: Both<ArrayLike<number>>,
  options?: DpoOptions & { refFree?: false },
): LossResult<Float64Array>;
export function dpoLoss(
  input: Policy<ArrayLike<number>>,
  options: DpoOptions & { refFree: true },
): LossResult<Float64Array>;
export function dpoLoss(input: ScalarInput, options: DpoOptions & { refFree?: boolean } = {}): LossResult<never> {
  return dpo('dpoLoss', input, options);
}

export type WpoLossInput<T> = PolicyLogps<T> &
  ReferenceLogps<T> & {
    /** What each pair counts, at least 0: `wpoWeights`, times weights of your own where you have any. */
    weights: T;
  };

/** What `dpoLoss` gives, the losses weighted. */
export type WpoLossResult<R> = Omit<LossResult<R>, 'unweightedLosses'> & {
  /** Before weighting. */
  dpoLosses: R;
};

/**
 * Weighted Preference Optimization (arXiv 2406.11827): w · (−(1−ε) log σ(βΔ) − ε log σ(−βΔ)), per pair. A batch's loss is
 * the mean over its pairs; weights are not renormalised. A pair of weight 0 has loss 0 even where its DPO loss is infinite.
 *
 * @throws where lengths do not match, a log-prob is none, a weight is below 0, or an option is out of range.
 */
export function wpoLoss(input: WpoLossInput<number>, options?: DpoOptions): WpoLossResult<number>;
export function wpoLoss(input: WpoLossInput<ArrayLike<number>>, options?: DpoOptions): WpoLossResult<Float64Array>;
export function wpoLoss(
  input: WpoLossInput<number> | WpoLossInput<ArrayLike<number>>,
  options: DpoOptions = {},
): WpoLossResult<never> {
  column('wpoLoss', 'weights', input.weights, FROM_0);
  const { unweightedLosses: dpoLosses, ...rest } = dpo('wpoLoss', input, options);
  return { ...rest, dpoLosses };
}

function dpo(where: string, input: ScalarInput, options: DpoOptions & { refFree?: boolean }): LossResult<never> {
  const settings = settle(where, options);
  const { gradient: _, ...result } = pairLoss(input, [[sigmoidLoss, 1]], settings);
  return result as LossResult<never>;
}
