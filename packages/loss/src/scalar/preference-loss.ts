import { checkNumbers, NON_NEGATIVE, type Numbers, POSITIVE } from '../checks';
import {
  type Column,
  type Measure,
  measureOf,
  type PairInput,
  type PolicyInput,
  type PolicyLogps,
  type PreferenceInput,
  type ReferenceInput,
  type ReferenceLogps,
  requiredColumns,
  rewardMeasure,
} from '../inputs';
import {
  type LossTerm,
  type LossType,
  type MixtureOptions,
  mixture,
  type OptionsOf,
  sigmoid as sigmoidSpec,
} from '../loss-table';
import { type LossOptions, resolveOptions, type Settings } from '../options';
import { FORMULAS, type Formula, type LossDerivatives, sigmoid } from './losses';
import { difference, product, sigmoid as sigma, softplus, sum } from './math';

/** Per pair, unreduced: one number, or a `Float64Array` with one number per pair. */
export type LossResult<R> = {
  /** Weight times loss. */
  losses: R;
  /** Before weighting. */
  unweightedLosses: R;
  /** The weights of the input, or 1. */
  weights: R;
  /** β (log π(y_w) − log π_ref(y_w)): the chosen answer's implicit reward; without the reference where the loss has none. */
  chosenRewards: R;
  /** The rejected answer's implicit reward. */
  rejectedRewards: R;
  /** The chosen reward minus the rejected one. */
  margins: R;
};

/** The derivatives of Σ_j `losses[j]`: entry i is the derivative by entry i of the input of the same name. */
export type LossGradient<R> = {
  /** By log π(y_w), with the weights held constant. */
  chosenLogps: R;
  /** By log π(y_l), with the weights held constant. */
  rejectedLogps: R;
  /** By the weights: the unweighted losses. Only attached weights pass it on to the log-probs. */
  weights: R;
};

/** A loss's result with its gradient. */
export type LossResultWithGradient<R> = LossResult<R> & { gradient: LossGradient<R> };

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
  return inFormOf(input, mixedLoss('preferenceLoss', input, options).result) as LossResult<never>;
}

/**
 * `preferenceLoss` of a batch, with the exact gradient of the sum of its `losses`.
 *
 * Edge cases are those of the tensor implementation: the derivative at hinge's kink is 0, a pair of weight 0 has gradient 0
 * even where its loss is infinite, and an answer of log-probability −∞ makes no NaN.
 *
 * @param input arrays with one entry per pair.
 * @throws what `preferenceLoss` throws.
 */
export function preferenceLossWithGradient<const L extends LossType = 'sigmoid', const Free extends boolean = false>(
  input: PreferenceInput<ArrayLike<number>, number, L, Free>,
  options: MixtureOptions<L> & { refFree?: Free } = {},
): LossResultWithGradient<Float64Array> {
  const evaluated = mixedLoss('preferenceLossWithGradient', input, options);
  const gradient = inFormOf(input, gradientOf(evaluated));
  return { ...inFormOf(input, evaluated.result), gradient } as LossResultWithGradient<Float64Array>;
}

const mixedLoss = (where: string, input: ScalarInput, options: MixtureOptions) =>
  evaluate(input, mixture(where, options, FORMULAS), resolveOptions(where, options));

export type DpoOptions = OptionsOf<'sigmoid'>;

/**
 * DPO (arXiv 2305.18290), label-smoothed: −(1−ε) log σ(βΔ) − ε log σ(−βΔ).
 *
 * Pass one number each for one pair, or arrays of one length. Where policy and reference both give an answer
 * log-probability −∞, its log-ratio is 0. With `refFree: true` there is no reference.
 *
 * @throws where lengths differ, a log-prob is NaN or above 0 by more than rounding, there are no pairs, or an option is out
 * of range.
 */
export function dpoLoss(input: ReferenceInput<number>, options?: DpoOptions & { refFree?: false }): LossResult<number>;
export function dpoLoss(input: PolicyInput<number>, options: DpoOptions & { refFree: true }): LossResult<number>;
export function dpoLoss(
  input: ReferenceInput<ArrayLike<number>>,
  options?: DpoOptions & { refFree?: false },
): LossResult<Float64Array>;
export function dpoLoss(
  input: PolicyInput<ArrayLike<number>>,
  options: DpoOptions & { refFree: true },
): LossResult<Float64Array>;
export function dpoLoss(input: ScalarInput, options: DpoOptions & { refFree?: boolean } = {}): LossResult<never> {
  return dpo('dpoLoss', input, options);
}

export type WpoLossInput<T> = PolicyLogps<T> &
  ReferenceLogps<T> & {
    /** The factor of each pair's loss, at least 0: `wpoWeights`, or their product with your own weights. */
    weights: T;
  };

/** The result of `dpoLoss`, with the weighted losses. */
export type WpoLossResult<R> = Omit<LossResult<R>, 'unweightedLosses'> & {
  /** Before weighting. */
  dpoLosses: R;
};

/**
 * Weighted Preference Optimization (arXiv 2406.11827): w · (−(1−ε) log σ(βΔ) − ε log σ(−βΔ)), per pair. A batch's loss is
 * the mean over its pairs; weights are not renormalized. A pair of weight 0 has loss 0 even where its DPO loss is infinite.
 *
 * @throws where lengths differ, a log-prob is NaN or above 0, a weight is below 0, or an option is out of range.
 */
export function wpoLoss(input: WpoLossInput<number>, options?: DpoOptions): WpoLossResult<number>;
export function wpoLoss(input: WpoLossInput<ArrayLike<number>>, options?: DpoOptions): WpoLossResult<Float64Array>;
export function wpoLoss(
  input: WpoLossInput<number> | WpoLossInput<ArrayLike<number>>,
  options: DpoOptions = {},
): WpoLossResult<never> {
  checkNumbers('wpoLoss', 'weights', input.weights, NON_NEGATIVE);
  const { unweightedLosses: dpoLosses, ...rest } = dpo('wpoLoss', input, options);
  return { ...rest, dpoLosses };
}

function dpo(where: string, input: ScalarInput, options: LossOptions): LossResult<never> {
  const term = { spec: sigmoidSpec, formula: sigmoid, coefficient: 1 };
  return inFormOf(input, evaluate(input, [term], resolveOptions(where, options)).result) as LossResult<never>;
}

/**
 * KTO's z₀ (arXiv 2402.01306, section 4): max(0, mean(log π(y′) − log π_ref(y′))), where each y′ is an answer to another
 * prompt, evaluated under this one.
 */
export function klEstimate(logps: ArrayLike<number>, refLogps: ArrayLike<number>): number {
  const policy = checkNumbers('klEstimate', 'logps', logps);
  const reference = checkNumbers('klEstimate', 'refLogps', refLogps, undefined, policy.length);
  return Math.max(0, (sum(policy) - sum(reference)) / policy.length);
}

type ScalarInput = PairInput<Numbers, number>;

/** A batch, column by column. Lengths are those given, or not read; weights are those given, or 1. */
type Table = Readonly<Record<Column, readonly number[]>>;

/** A batch, and each term of the loss evaluated on every pair of it. */
interface Evaluated {
  readonly table: Table;
  readonly terms: readonly (Measured & { readonly coefficient: number; readonly losses: readonly LossDerivatives[] })[];
  readonly result: Record<keyof LossResult<never>, readonly number[]>;
}

/** Checks the input, and computes the losses of a batch: the sum of `terms`, each times its coefficient. */
function evaluate(input: ScalarInput, terms: readonly LossTerm<Formula>[], settings: Settings): Evaluated {
  const { where } = settings;
  const specs = terms.map(({ spec }) => spec);
  const table = {} as Record<Column, readonly number[]>;
  for (const name of requiredColumns(specs, settings, input)) {
    const range = name.endsWith('Lengths') ? POSITIVE : name === 'weights' ? NON_NEGATIVE : undefined;
    table[name] = checkNumbers(where, name, input[name], range, table.chosenLogps?.length);
  }
  const { chosenLogps } = table;
  table.chosenLengths ??= chosenLogps; // not read
  table.weights ??= chosenLogps.map(() => 1);
  const evaluated = terms.map(({ spec, formula, coefficient }) => {
    const measured = measure(table, measureOf(spec, settings), settings);
    const losses = measured.chosen.map(([rw], i) => {
      const [rl] = measured.rejected[i]!;
      const nll = -chosenLogps[i]! / table.chosenLengths[i]!;
      return formula({ rw, rl, u: difference(rw, rl), nll, kl: input.kl ?? 0 }, settings);
    });
    return { ...measured, coefficient, losses };
  });
  const unweightedLosses = chosenLogps.map((_, i) =>
    sum(evaluated.map(({ coefficient, losses }) => product(coefficient, losses[i]![0]))),
  );
  const rewards = measure(table, rewardMeasure(specs, settings), settings);
  const chosenRewards = rewards.chosen.map(([r]) => r);
  const rejectedRewards = rewards.rejected.map(([r]) => r);
  const result = {
    losses: unweightedLosses.map((loss, i) => product(table.weights[i]!, loss)),
    unweightedLosses,
    weights: table.weights,
    chosenRewards,
    rejectedRewards,
    margins: chosenRewards.map((rw, i) => difference(rw, rejectedRewards[i]!)),
  };
  return { table, terms: evaluated, result };
}

/** The gradient of the sum of the weighted losses. */
function gradientOf({ table, terms, result }: Evaluated): Record<keyof LossGradient<never>, readonly number[]> {
  const { chosenLengths, weights } = table;
  const [chosenLogps, rejectedLogps] = [weights.map(() => 0), weights.map(() => 0)];
  for (const { coefficient, losses, chosen, rejected, rejectedPairs } of terms) {
    losses.forEach(([, byU, byRw = 0, byRl = 0, byNll = 0], i) => {
      // chain rule, with u = r_w − r_l:
      // d/d log π(y_w) = (d/dr_w + d/du) · dr_w/d log π(y_w) − d/dnll / |y_w|
      // d/d log π(y_l) = (d/dr_l − d/du) · dr_l/d log π(y_l)
      const factor = product(weights[i]!, coefficient);
      chosenLogps[i]! += product(factor, product(byRw + byU, chosen[i]![1]));
      if (byNll) chosenLogps[i]! -= (factor * byNll) / chosenLengths[i]!;
      rejectedLogps[rejectedPairs[i]!]! += product(factor, product(byRl - byU, rejected[i]![1]));
    });
  }
  return { chosenLogps, rejectedLogps, weights: result.unweightedLosses };
}

/** Columns as the caller gave them: single numbers for single numbers, else `Float64Array`s. */
const inFormOf = <K extends string>(input: ScalarInput, columns: Record<K, readonly number[]>): Record<K, Numbers> =>
  Object.fromEntries(
    Object.entries<readonly number[]>(columns).map(([name, xs]) => [
      name,
      typeof input.chosenLogps === 'number' ? xs[0]! : Float64Array.from(xs),
    ]),
  ) as Record<K, Numbers>;

/** A number, and its derivative by a log-prob. */
type WithDerivative = readonly [value: number, derivative: number];

/** The rewards r = β ρ of both answers of each pair, each with its derivative by the answer's log π. */
interface Measured {
  readonly chosen: readonly WithDerivative[];
  readonly rejected: readonly WithDerivative[];
  /** The pair that each rejected log-prob comes from: the pair itself, unless the loss matches answers by rank. */
  readonly rejectedPairs: readonly number[];
}

function measure(given: Table, { reference, divergence, perToken, ranks }: Measure, settings: Settings): Measured {
  const { table, rejectedPairs } = matchedByRank(given, ranks);
  const ofAnswer = (side: 'chosen' | 'rejected', refLogps: readonly number[]) =>
    table[`${side}Logps`].map((logp, i): WithDerivative => {
      const x = reference ? difference(logp, refLogps[i]!) : logp;
      const [value, derivative] = divergence ? divergenceScore(x, settings) : [x, 1];
      const scale = settings.beta / (perToken ? table[`${side}Lengths`][i]! : 1);
      return [value * scale, derivative * scale];
    });
  return {
    chosen: ofAnswer('chosen', table.refChosenLogps),
    rejected: ofAnswer('rejected', table.refRejectedLogps),
    rejectedPairs,
  };
}

/** f′(e^x) of an f-divergence, x the log-ratio (f-DPO, arXiv 2309.16240), and its derivative by x. */
function divergenceScore(x: number, { fDivergenceType, a }: Settings): WithDerivative {
  // Jensen-Shannon: f′(t) = log(2t / (t + 1)) = log 2 − log(1 + e^−x); d/dx = σ(−x)
  if (fDivergenceType === 'js_divergence') return [Math.LN2 - softplus(-x), sigma(-x)];
  if (!a) return [x, 1];
  // α-divergence, a = α − 1: f′(t) = (t^a − 1) / a; d/dx = e^(ax). Exponents are at most 80, as in TRL.
  const exponent = Math.min(a * x, 80);
  return [Math.expm1(exponent) / a, a * x > 80 ? 0 : Math.exp(exponent)];
}

/** For ranked losses: a table whose `moved` column and rejected reference are those of the pair of the same rank. */
function matchedByRank(table: Table, ranks: Measure['ranks']): { table: Table; rejectedPairs: readonly number[] } {
  const own = [...table.chosenLogps.keys()];
  if (!ranks) return { table, rejectedPairs: own };
  const [fixed, moved] = ranks;
  /** The pairs from the largest difference of two columns to the smallest. Equal ones keep their order. */
  const descending = (a: Column, b: Column) => {
    const values = table[a].map((x, i) => difference(x, table[b][i]!));
    return [...own].sort((i, j) => difference(values[j]!, values[i]!));
  };
  const partners: number[] = [];
  const ranked = descending(moved, 'refRejectedLogps');
  descending('chosenLogps', fixed).forEach((i, rank) => {
    partners[i] = ranked[rank]!;
  });
  const matched = (name: Column) => partners.map((j) => table[name][j]!);
  return {
    table: { ...table, [moved]: matched(moved), refRejectedLogps: matched('refRejectedLogps') },
    rejectedPairs: moved === 'rejectedLogps' ? partners : own,
  };
}
