import { type LossType, type MixtureOptions, mixture, type PreferenceInput } from '../loss-types';
import { columns, type LossNeeds, type Needs } from '../needs';
import { type AttachedOptions, settle } from '../settings';
import { LOSSES } from './losses';
import { type LossGradient, type LossResult, pairLoss, type ScalarInput } from './pair-loss';

/** All names of losses. */
export const lossTypes = (): LossType[] => Object.keys(LOSSES) as LossType[];

/**
 * What `preferenceLoss` needs under these options, beside the policy's log-probs.
 *
 * @param where what error messages begin with.
 * @throws what `preferenceLoss` would throw because of the options, before there is any input.
 */
export function lossNeeds(options: MixtureOptions & AttachedOptions = {}, where = 'lossNeeds'): LossNeeds {
  const settings = settle(where, options);
  const all = mixture(where, options, LOSSES).map(([[needs]]) => ({
    ...needs,
    reference: needs.reference && (!settings.refFree || !!needs.sort),
  }));
  const names = columns(settings, { kl: 0 }, all);
  const any = (what: keyof Needs) => all.some((needs) => needs[what]);
  return {
    reference: names.includes('refChosenLogps'),
    lengths: names.includes('chosenLengths'),
    kl: !!any('kl'),
    batch: !!any('sort'),
  };
}

/**
 * Any loss by its name in TRL, or a weighted sum of several: MPO is `['sigmoid', 'bco_pair', 'sft']` with `lossWeights`
 * [0.8, 0.2, 1], RPO `['sigmoid', 'sft']`. docs/losses.md lists the equations.
 *
 * @param input one number each for one pair, or arrays; lengths, `kl` and weights where the losses need them.
 * @throws where a name is unknown, an option out of range, an input missing, a log-prob NaN or above 0, or lengths differ.
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
  const { gradient: _, ...result } = preference('preferenceLoss', input, options);
  return result as LossResult<never>;
}

/**
 * `preferenceLoss` of a batch, with the exact gradient of the sum of `losses`.
 *
 * At edge cases the derivatives are those of the tensor implementation: hinge's kink has slope 0, a pair of weight 0 has
 * gradient 0 even where its loss is infinite, and an answer of log-probability −∞ makes no NaN.
 *
 * @param input arrays with one entry per pair.
 * @throws what `preferenceLoss` throws.
 */
export function preferenceLossWithGradient<const L extends LossType = 'sigmoid', const Free extends boolean = false>(
  input: PreferenceInput<ArrayLike<number>, number, L, Free>,
  options: MixtureOptions<L> & { refFree?: Free } = {},
): LossResult<Float64Array> & { gradient: LossGradient<Float64Array> } {
  return preference('preferenceLossWithGradient', input, options) as LossResult<Float64Array> & {
    gradient: LossGradient<Float64Array>;
  };
}

function preference(where: string, input: ScalarInput, options: MixtureOptions) {
  return pairLoss(input, mixture(where, options, LOSSES), settle(where, options));
}
