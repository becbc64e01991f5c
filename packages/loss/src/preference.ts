import type * as tf from '@tensorflow/tfjs-core';
import { type LossType, type MixtureOptions, mixture, type PreferenceInput } from './loss-types';
import { apoDown, apoZero } from './losses/apo';
import { bco } from './losses/bco';
import { cpo } from './losses/cpo';
import { discopop } from './losses/discopop';
import { exo } from './losses/exo';
import { hinge } from './losses/hinge';
import { ipo } from './losses/ipo';
import { kto } from './losses/kto';
import { nca } from './losses/nca';
import { orpo } from './losses/orpo';
import { robust } from './losses/robust';
import { sft } from './losses/sft';
import { aot, aotUnpaired, sigmoid, sigmoidNorm } from './losses/sigmoid';
import { simpo } from './losses/simpo';
import { sppo } from './losses/sppo';
import { columns, type LossNeeds, type Needs } from './needs';
import { type LossResult, pairLoss } from './pair-loss';
import type { AttachedOptions } from './settings';
import { type LossSettings, lossSettings, type Term } from './term';

const LOSSES: Record<LossType, (settings: LossSettings) => Term[]> = {
  dpo: sigmoid,
  sigmoid,
  hinge,
  ipo,
  exo_pair: exo,
  nca_pair: nca,
  robust,
  bco_pair: bco,
  sppo_hard: sppo,
  aot,
  aot_unpaired: aotUnpaired,
  apo_zero: apoZero,
  apo_down: apoDown,
  discopop,
  sft,
  sigmoid_norm: sigmoidNorm,
  simpo,
  orpo,
  cpo,
  kto,
};

/** All names of losses. */
export const lossTypes = (): LossType[] => Object.keys(LOSSES) as LossType[];

/**
 * What `preferenceLoss` will need under these options.
 *
 * @param where what errors begin with.
 * @throws what `preferenceLoss` would throw of the options, before there are any tensors.
 */
export function lossNeeds(options: MixtureOptions & AttachedOptions = {}, where = 'lossNeeds'): LossNeeds {
  const { settings, terms } = define(where, options);
  const measures = terms.map(({ measure }) => measure);
  const names = columns(settings, { kl: 0 }, measures);
  const any = (what: keyof Needs) => measures.some((measure) => measure[what]);
  return {
    reference: names.includes('refChosenLogps'),
    lengths: names.includes('chosenLengths'),
    kl: any('kl'),
    batch: any('sort'),
  };
}

/**
 * Any loss by its name in TRL, or a weighted sum of several: MPO is `['sigmoid', 'bco_pair', 'sft']` with `lossWeights`
 * [0.8, 0.2, 1], RPO `['sigmoid', 'sft']`. docs/losses.md has the equation of each.
 *
 * Rewards are of the log-ratio where any loss uses the reference.
 *
 * @param input log-probs `[B]`; lengths, `kl` and weights where the losses need them.
 * @throws where a name is unknown, an option out of range, something missing, a shape wrong, or there are no pairs.
 */
export function preferenceLoss<const L extends LossType = 'sigmoid', const Free extends boolean = false>(
  input: PreferenceInput<tf.Tensor1D, tf.Tensor | number, L, Free>,
  options: MixtureOptions<L> & AttachedOptions & { refFree?: Free } = {},
): LossResult {
  const { settings, terms } = define('preferenceLoss', options);
  return pairLoss(input, terms, settings);
}

function define(where: string, options: MixtureOptions & AttachedOptions) {
  const settings = lossSettings(where, options);
  const terms = mixture(where, options, LOSSES).flatMap(([define, weight]) =>
    define(settings).map((term) => ({ ...term, coefficient: term.coefficient * weight })),
  );
  return { settings, terms };
}
