import * as tf from '@tensorflow/tfjs-core';
import { answerScores, checkPair, type PairTokens } from './answers';
import { checkRange, POSITIVE } from './checks';
import { add, clampMax, detached, exp, mul } from './ops';
import type { AttachedOptions, WeightNumbers } from './options';

export interface WeightOptions extends WeightNumbers, AttachedOptions {}

/**
 * The WPO weight of each pair, w = min(1, exp((s(y_w) + s(y_l)) / τ)): near 1 where the policy is likely to generate both
 * answers itself, near 0 where it is not (arXiv 2406.11827). No gradient flows through it unless `attached` is true; set
 * `attached` in the loss's options too then.
 *
 * @returns `[B]`, w ≥ 0, and w ≤ 1 unless `clamp` is false; the caller's to dispose.
 * @throws where shapes do not match, there are no tokens, an option is out of range or the alignment's term is missing.
 */
export function wpoWeights(pair: PairTokens, options: WeightOptions = {}): tf.Tensor1D {
  const { alignment = 'sampled', attached, clamp = true, temperature = 1 } = options;
  const { chosen, rejected } = pair;
  checkRange('wpoWeights', 'temperature', temperature, POSITIVE);
  const terms = checkPair('wpoWeights', pair, alignment);
  const weigh = () => {
    const scores = add(answerScores(chosen, alignment), answerScores(rejected, alignment)); // [B]
    return exp(clampMax(mul(scores, 1 / temperature), clamp ? 0 : Infinity));
  };
  return attached ? tf.tidy(weigh) : detached([chosen.logps, rejected.logps, ...terms], weigh);
}
