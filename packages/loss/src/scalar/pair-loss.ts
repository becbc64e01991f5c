import { column, type Numbers } from '../column';
import type { PairInput } from '../inputs';
import { type Column, columns, rewardNeeds } from '../needs';
import { ABOVE_0, FROM_0 } from '../range';
import type { Settings } from '../settings';
import type { Loss } from './losses';
import { measure } from './measure';
import { difference, product } from './numbers';

export type ScalarInput = PairInput<Numbers, number>;

/** Per pair, unreduced: one number, or a `Float64Array` of one a pair. */
export type LossResult<R> = {
  /** Weight times loss. */
  losses: R;
  /** Before weighting. */
  unweightedLosses: R;
  /** As given, or 1. */
  weights: R;
  /** β (log π(y_w) − log π_ref(y_w)): the chosen answer's implicit reward; without the reference where the loss has none. */
  chosenRewards: R;
  /** The rejected answer's. */
  rejectedRewards: R;
  /** Chosen less rejected. */
  margins: R;
};

/** The losses of a batch: each of `losses` times its weight, added up. */
export function pairLoss(
  input: ScalarInput,
  losses: readonly (readonly [Loss, weight: number])[],
  settings: Settings,
): LossResult<Numbers> {
  const { where, refFree } = settings;
  const all = losses.map(([[needs]]) => ({
    ...needs,
    reference: needs.reference && (!refFree || !!needs.sort),
  }));
  const table = {} as Record<Column, number[]>;
  for (const name of columns(settings, input, all)) {
    const range = name.endsWith('Lengths') ? ABOVE_0 : name === 'weights' && FROM_0;
    table[name] = column(where, name, input[name], range, table.chosenLogps?.length);
  }
  // where a loss asks for no lengths it looks at none
  const { chosenLogps, chosenLengths: lengths = chosenLogps, weights = chosenLogps.map(() => 1) } = table;
  const given = { ...settings, kl: input.kl };
  const unweightedLosses = chosenLogps.map(() => 0);
  losses.forEach(([[, formula], coefficient], k) => {
    const [ws, ls] = measure(table, all[k]!, settings);
    ws.forEach((w, i) => {
      const l = ls[i]!;
      const nll = -chosenLogps[i]! / lengths[i]!;
      unweightedLosses[i]! += product(coefficient, formula(difference(w, l), given, w, l, nll));
    });
  });
  const [chosenRewards, rejectedRewards] = measure(table, rewardNeeds(all), settings);
  const margins = chosenRewards.map((w, i) => difference(w, rejectedRewards[i]!));
  const result = {
    losses: unweightedLosses.map((loss, i) => product(weights[i]!, loss)),
    unweightedLosses,
    weights,
    chosenRewards,
    rejectedRewards,
    margins,
  };
  const form = (xs: number[]) => (typeof input.chosenLogps === 'number' ? xs[0]! : Float64Array.from(xs));
  return Object.fromEntries(Object.entries(result).map(([name, xs]) => [name, form(xs)])) as LossResult<Numbers>;
}
