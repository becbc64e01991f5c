import type { Column, Needs } from '../needs';
import type { Settings } from '../settings';
import { difference, softplus } from './numbers';

/** A batch, column by column. */
export type Table = Readonly<Record<Column, readonly number[]>>;

/** β times what a loss looks at of each pair: of its chosen answer, and of what that is held against. */
export function measure(table: Table, needs: Needs, settings: Settings): [w: number[], l: number[]] {
  const { beta } = settings;
  const differences = (a: Column, b: Column) => table[a].map((x, i) => beta * difference(x, table[b][i]!));
  if (needs.sort) {
    const [held, moved] = needs.sort;
    const left = differences('chosenLogps', held);
    return [left, matchByRank(left, differences(moved, 'refRejectedLogps'))];
  }
  const ofAnswers = (answer: 'chosen' | 'rejected', reference: Column) =>
    table[`${answer}Logps`].map((logp, i) => {
      const x = needs.reference ? difference(logp, table[reference][i]!) : logp;
      return (beta * (needs.score ? score(x, settings) : x)) / (needs.perToken ? table[`${answer}Lengths`][i]! : 1);
    });
  return [ofAnswers('chosen', 'refChosenLogps'), ofAnswers('rejected', 'refRejectedLogps')];
}

/** f′ of an f-divergence at e^x (f-DPO, arXiv 2309.16240). Level past e^80, as in TRL. */
const score = (x: number, { fDivergenceType, a }: Settings) =>
  fDivergenceType === 'js_divergence' ? Math.LN2 - softplus(-x) : a ? Math.expm1(Math.min(a * x, 80)) / a : x;

/** `b` in another order: where `a` has its k-th largest value, `b`'s k-th largest. */
function matchByRank(a: readonly number[], b: number[]): number[] {
  const matched: number[] = [];
  b.sort((x, y) => y - x);
  [...a.keys()]
    .sort((i, j) => a[j]! - a[i]!)
    .forEach((i, rank) => {
      matched[i] = b[rank]!;
    });
  return matched;
}
