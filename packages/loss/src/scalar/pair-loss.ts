import { column, type Numbers } from '../column';
import type { PairInput } from '../inputs';
import { type Column, columns, rewardNeeds } from '../needs';
import { ABOVE_0, FROM_0 } from '../range';
import type { Settings } from '../settings';
import type { Loss } from './losses';
import { measure } from './measure';
import { difference, product } from './numbers';

export type ScalarInput = PairInput<Numbers, number>;

/** Per pair, unreduced: one number, or a `Float64Array` with one number per pair. */
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

/** The derivatives of Σ_j `losses[j]`; entry i is the derivative by the i-th entry of the input of the same name. */
export type LossGradient<R> = {
  /** By log π(y_w), with the weights held constant. */
  chosenLogps: R;
  /** By log π(y_l), with the weights held constant. */
  rejectedLogps: R;
  /** By the weights: the unweighted losses. Only attached weights pass it on to the log-probs. */
  weights: R;
};

/** The losses of a batch and their gradient: the sum of `losses`, each times its weight. */
export function pairLoss(
  input: ScalarInput,
  losses: readonly (readonly [Loss, weight: number])[],
  settings: Settings,
): LossResult<Numbers> & { gradient: LossGradient<Numbers> } {
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
  // a loss that needs no lengths does not read them
  const { chosenLogps, chosenLengths: lengths = chosenLogps, weights = chosenLogps.map(() => 1) } = table;
  const given = { ...settings, kl: input.kl };
  const zeros = () => chosenLogps.map(() => 0);
  const [unweightedLosses, byChosen, byRejected] = [zeros(), zeros(), zeros()];
  losses.forEach(([[, formula], coefficient], k) => {
    const { chosen, rejected, rejectedAt } = measure(table, all[k]!, settings);
    chosen.values.forEach((rw, i) => {
      const rl = rejected.values[i]!;
      const nll = -chosenLogps[i]! / lengths[i]!;
      const [loss, byU, byRw = 0, byRl = 0, byNll = 0] = formula({ rw, rl, u: difference(rw, rl), nll }, given);
      unweightedLosses[i]! += product(coefficient, loss);
      // chain rule: d/dlog π(y_w) = (d/dr_w + d/du) · dr_w/dlog π − d/dnll / |y_w|, as u = r_w − r_l
      const factor = product(weights[i]!, coefficient);
      byChosen[i]! += product(factor, product(byRw + byU, chosen.slopes[i]!));
      if (byNll) byChosen[i]! -= (factor * byNll) / lengths[i]!;
      byRejected[rejectedAt[i]!]! += product(factor, product(byRl - byU, rejected.slopes[i]!));
    });
  });
  const rewards = measure(table, rewardNeeds(all), settings);
  const [chosenRewards, rejectedRewards] = [rewards.chosen.values, rewards.rejected.values];
  const margins = chosenRewards.map((w, i) => difference(w, rejectedRewards[i]!));
  const result = {
    losses: unweightedLosses.map((loss, i) => product(weights[i]!, loss)),
    unweightedLosses,
    weights,
    chosenRewards,
    rejectedRewards,
    margins,
  };
  const single = typeof input.chosenLogps === 'number';
  const convert = <K extends string>(columns: Record<K, number[]>) =>
    Object.fromEntries(
      Object.entries<number[]>(columns).map(([name, xs]) => [name, single ? xs[0]! : Float64Array.from(xs)]),
    ) as Record<K, Numbers>;
  const gradient = { chosenLogps: byChosen, rejectedLogps: byRejected, weights: unweightedLosses };
  return { ...convert(result), gradient: convert(gradient) };
}
