import { type LossType, type MixtureOptions, mixture, type PreferenceInput } from '../loss-types';
import { settle } from '../settings';
import { LOSSES } from './losses';
import { type LossResult, pairLoss, type ScalarInput } from './pair-loss';

/**
 * Any loss by its name in TRL, or a weighted sum of several: MPO is `['sigmoid', 'bco_pair', 'sft']` with `lossWeights`
 * [0.8, 0.2, 1], RPO `['sigmoid', 'sft']`. docs/losses.md has the equation of each.
 *
 * @param input one number each for one pair, or arrays; lengths, `kl` and weights where the losses need them.
 * @throws where a name is unknown, an option out of range, something missing or no log-prob, or lengths do not match.
 */
export function preferenceLoss<const L extends LossType = 'sigmoid', const Free extends boolean = false>(
  input: PreferenceInput<number, number, L, Free>,
  options?: MixtureOptions<L> & { refFree?: Free },
): LossResult<number>;
export function preferenceLoss<const L extends LossType = 'sigmoid', const Free extends boolean = false>(
  input: PreferenceInput<ArrayLike<number>, number, L, Free>,
  options?: MixtureOptions<L> & { refFree?: Free },
): LossResult<Float64Array>;
export function preferenceLoss(input: ScalarInput, options: MixtureOptions = {}): LossResult<never> {
  const settings = settle('preferenceLoss', options);
  return pairLoss(input, mixture('preferenceLoss', options, LOSSES), settings) as LossResult<never>;
}
