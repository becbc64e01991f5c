import * as tf from '@tensorflow/tfjs-core';
import { answerScores, checkPair, type PairTokens } from './answer';
import { detached } from './gradient';
import { add, atMost, exp, mul } from './ops';
import { ABOVE_0, checkRange } from './range';
import type { AttachedOptions } from './settings';
import type { WeightNumbers } from './weight-options';

export interface WeightOptions extends WeightNumbers, AttachedOptions {}

/**
 * The WPO weight of each pair, w = min(1, exp((s(y_w) + s(y_l)) / τ)): near 1 where the policy could have written both
 * answers itself, near 0 where they are far from what it writes (arXiv 2406.11827). No gradient flows through it unless
 * `attached`; the loss must be told so too.
 *
 * @returns `[B]`, 0 ≤ w, and w ≤ 1 unless `clamp` is false; the caller's to dispose.
 * @throws where shapes do not match, an answer has no tokens, an option is out of range or the alignment's term is missing.
 */
export function wpoWeights(pair: PairTokens, options: WeightOptions = {}): tf.Tensor1D {
  const { alignment = 'sampled', attached, clamp = true, temperature = 1 } = options;
  const { chosen, rejected } = pair;
  checkRange('wpoWeights', 'temperature', temperature, ABOVE_0);
  const terms = checkPair('wpoWeights', pair, alignment);
  const weigh = () => {
    const scores = add(answerScores(chosen, alignment), answerScores(rejected, alignment)); // [B]
    return exp(atMost(mul(scores, 1 / temperature), clamp ? 0 : Infinity));
  };
  return attached ? tf.tidy(weigh) : detached([chosen.logps, rejected.logps, ...terms], weigh);
}
