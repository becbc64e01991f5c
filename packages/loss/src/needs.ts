import type { PairInput } from './inputs';
import { checkRange, type Range } from './range';
import type { Settings } from './settings';

/** What a loss needs to know of a pair. */
export interface Needs {
  /** log π(y) − log π_ref(y). Where absent, log π(y) alone. */
  readonly reference?: boolean;
  /** KTO's reference point, to be taken off. */
  readonly kl?: boolean;
  /** The loss is of a difference of scores, which an f-divergence may bend. */
  readonly score?: unknown;
  /** The answers' lengths, to be divided by. */
  readonly perToken?: boolean;
  /** The answers' lengths, for a likelihood term beside. */
  readonly nll?: boolean;
  /** What `labelSmoothing` must be, where not anything from 0 to 0.5 will do. */
  readonly smoothing?: Range;
  /**
   * The batch, in which chosen less `held` and `moved` less the reference's rejected meet by rank: the policy's margins and
   * the reference's, or the log-ratios of chosen answers and of rejected ones.
   */
  readonly sort?: readonly [held: SortColumn, moved: SortColumn];
}

export type SortColumn = 'rejectedLogps' | 'refChosenLogps';

export type Column = Exclude<keyof PairInput<unknown, unknown>, 'kl'>;

/** What rewards are of: what the loss measures, before it is bent. */
export const rewardNeeds = (all: readonly Needs[]): Needs => {
  const reference = all.some((needs) => needs.reference);
  return { reference, perToken: !reference && all[0]!.perToken };
};

/**
 * The columns that losses are made of, and the weights if there are any.
 *
 * @throws where KTO's reference point is missing, weights are given to a loss that sorts, or an f-divergence to one that
 * is not of a difference of two answers' rewards: β log Z(x), which it brings into a reward, cancels there alone.
 */
export function columns(
  { where, fDivergenceType, a, labelSmoothing }: Settings,
  given: Partial<PairInput<unknown, unknown>>,
  all: readonly Needs[],
): Column[] {
  for (const { smoothing } of all) if (smoothing) checkRange(where, 'labelSmoothing', labelSmoothing, smoothing);
  const any = (what: keyof Needs) => all.some((needs) => needs[what]);
  if (any('kl') && given.kl === undefined) {
    throw new Error(`${where}: kl is missing: see klEstimate.`);
  }
  if (any('sort') && given.weights) {
    throw new Error(`${where}: aot takes no weights: it compares quantiles of a batch, which they would not move.`);
  }
  if (a && !(any('score') && all.every((needs) => !needs.reference || needs.score))) {
    throw new Error(
      `${where}: fDivergenceType '${fDivergenceType}' is for losses of a difference of scores, as sigmoid or ipo.`,
    );
  }
  return [
    'chosenLogps',
    'rejectedLogps',
    ...(any('reference') ? (['refChosenLogps', 'refRejectedLogps'] as const) : []),
    ...(any('perToken') || any('nll') ? (['chosenLengths', 'rejectedLengths'] as const) : []),
    ...(given.weights ? (['weights'] as const) : []),
  ];
}

/** What losses need beside the policy's log-probs. */
export interface LossNeeds {
  /** The reference's log-probs. */
  reference: boolean;
  /** The answers' lengths. */
  lengths: boolean;
  /** KTO's reference point. */
  kl: boolean;
  /** The whole batch at once, and no weights: its pairs are ranked. */
  batch: boolean;
}
