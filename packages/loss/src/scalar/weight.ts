import { ABOVE_0, checkRange } from '../range';
import type { WeightNumbers } from '../weight-options';
import { answerScore, type PairTokens } from './answer';

/** A pair's WPO weight and its derivative by the log-prob of one token, which is the same for every token of an answer. */
export interface WeightWithGradient {
  readonly weight: number;
  readonly gradient: { readonly chosen: number; readonly rejected: number };
}

/**
 * The WPO weight of a pair, w = min(1, exp((s(y_w) + s(y_l)) / τ)): near 1 where the policy could have written both answers
 * itself, near 0 where they are far from what it writes (arXiv 2406.11827).
 *
 * @returns at least 0, and at most 1 unless `clamp` is false.
 * @throws where an answer has no tokens, a log-prob is NaN or above 0, an option is out of range or the alignment's term
 * is missing.
 */
export const wpoWeights = (pair: PairTokens, options: WeightNumbers = {}): number =>
  weightWithGradient('wpoWeights', pair, options).weight;

/**
 * `wpoWeights` with its gradient, for weights that are `attached`: d w / d l_t = w / (τ |y|) for each token of y, the
 * alignment's term held constant. It is 0 where the clamp lowers the weight to 1; at exactly 1 it is not.
 *
 * @throws what `wpoWeights` throws.
 */
export const wpoWeightsWithGradient = (pair: PairTokens, options: WeightNumbers = {}): WeightWithGradient =>
  weightWithGradient('wpoWeightsWithGradient', pair, options);

function weightWithGradient(where: string, pair: PairTokens, options: WeightNumbers): WeightWithGradient {
  const { alignment = 'sampled', clamp = true, temperature = 1 } = options;
  checkRange(where, 'temperature', temperature, ABOVE_0);
  const score = (side: keyof PairTokens) => answerScore(where, `${side}.`, pair[side], alignment);
  const s = (score('chosen') + score('rejected')) / temperature;
  const clamped = clamp && s > 0;
  const weight = clamped ? 1 : Math.exp(s);
  const byToken = (side: keyof PairTokens) => (clamped ? 0 : weight / (temperature * pair[side].logps.length));
  return { weight, gradient: { chosen: byToken('chosen'), rejected: byToken('rejected') } };
}
