import type { Column, Needs } from '../needs';
import type { Settings } from '../settings';
import { difference, sigmoid, softplus } from './numbers';

/** A batch, column by column. */
export type Table = Readonly<Record<Column, readonly number[]>>;

/** The rewards of one answer of each pair, and the derivative of each by that answer's log π. */
interface Rewards {
  readonly values: number[];
  readonly slopes: number[];
}

/** β times what a loss compares: of each pair's chosen answer, and of what that is compared with. */
export interface Measured {
  readonly chosen: Rewards;
  readonly rejected: Rewards;
  /** The pair whose rejected answer `rejected.values[i]` belongs to: i, unless the loss matches answers by rank. */
  readonly rejectedAt: readonly number[];
}

export function measure(given: Table, needs: Needs, settings: Settings): Measured {
  const { table, rejectedAt } = ranked(given, needs.sort);
  const ofAnswers = (answer: 'chosen' | 'rejected', reference: Column): Rewards => {
    const values: number[] = [];
    const slopes: number[] = [];
    table[`${answer}Logps`].forEach((logp, i) => {
      const x = needs.reference ? difference(logp, table[reference][i]!) : logp;
      const [value, slope] = needs.score ? score(x, settings) : [x, 1];
      const scale = settings.beta / (needs.perToken ? table[`${answer}Lengths`][i]! : 1);
      values.push(value * scale);
      slopes.push(slope * scale);
    });
    return { values, slopes };
  };
  return {
    chosen: ofAnswers('chosen', 'refChosenLogps'),
    rejected: ofAnswers('rejected', 'refRejectedLogps'),
    rejectedAt,
  };
}

/** For losses that sort a batch: the columns `moved` and `refRejectedLogps` in the order in which pairs are compared. */
function ranked(table: Table, sort: Needs['sort']): { table: Table; rejectedAt: number[] } {
  if (!sort) return { table, rejectedAt: [...table.chosenLogps.keys()] };
  const [held, moved] = sort;
  const differences = (a: Column, b: Column) => table[a].map((x, i) => difference(x, table[b][i]!));
  const matches = matchByRank(differences('chosenLogps', held), differences(moved, 'refRejectedLogps'));
  const matched = (name: Column) => matches.map((j) => table[name][j]!);
  return {
    table: { ...table, [moved]: matched(moved), refRejectedLogps: matched('refRejectedLogps') },
    rejectedAt: moved === 'rejectedLogps' ? matches : [...matches.keys()],
  };
}

/**
 * f′(e^x) of an f-divergence (f-DPO, arXiv 2309.16240), and its derivative by x. Exponents are constant above 80, as in TRL.
 *
 * Jensen-Shannon: log(2 e^x / (e^x + 1)), d/dx = σ(−x). α-divergence, a = α − 1: (e^(ax) − 1) / a, d/dx = e^(ax).
 */
function score(x: number, { fDivergenceType, a }: Settings): [value: number, slope: number] {
  if (fDivergenceType === 'js_divergence') return [Math.LN2 - softplus(-x), sigmoid(-x)];
  if (!a) return [x, 1];
  const exponent = Math.min(a * x, 80);
  return [Math.expm1(exponent) / a, a * x > 80 ? 0 : Math.exp(exponent)];
}

/** For each index in `a`, the index in `b` of its partner: the k-th largest of one is matched with the k-th largest of the other. */
function matchByRank(a: readonly number[], b: readonly number[]): number[] {
  const descending = (xs: readonly number[]) => [...xs.keys()].sort((i, j) => difference(xs[j]!, xs[i]!));
  const matches: number[] = [];
  const ranked = descending(b);
  descending(a).forEach((i, rank) => {
    matches[i] = ranked[rank]!;
  });
  return matches;
}
