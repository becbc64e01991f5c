import { ABOVE_0, checkRange } from '../range';
import type { WeightNumbers } from '../weight-options';
import { answerScore, type PairTokens } from './answer';

/**
 * The WPO weight of a pair, w = min(1, exp((s(y_w) + s(y_l)) / τ)): near 1 where the policy could have written both answers
 * itself, near 0 where they are far from what it writes (arXiv 2406.11827).
 *
 * @returns at least 0, and at most 1 unless `clamp` is false.
 * @throws where an answer has no tokens, a log-prob is none, an option is out of range or the alignment's term is missing.
 */
export function wpoWeights(pair: PairTokens, options: WeightNumbers = {}): number {
  const { alignment = 'sampled', clamp = true, temperature = 1 } = options;
  checkRange('wpoWeights', 'temperature', temperature, ABOVE_0);
  const score = (side: keyof PairTokens) => answerScore('wpoWeights', `${side}.`, pair[side], alignment);
  const s = (score('chosen') + score('rejected')) / temperature;
  return Math.exp(clamp ? Math.min(s, 0) : s);
}
