import { checkName, checkNumbers, checkRange, FINITE, type NumberRange } from './checks';
import {
  type AttachedOptions,
  type LossOptions,
  type NumberOptionName,
  resolveOptions,
  type Settings,
} from './options';

// The one table of losses. The formulas over tensors (losses.ts) and over numbers (scalar/losses.ts) are keyed by it, and
// the types of inputs and options are derived from it. descriptions.ts has a line of help for each loss.

/** The inputs that one loss reads, and how it uses them. */
export interface LossSpec {
  /** True: compares log-ratios log π(y) − log π_ref(y). False: compares log π(y) itself and needs no reference. */
  readonly reference: boolean;
  /** Depends only on the difference of the two answers' scores, so that an f-divergence may be chosen. */
  readonly divergence?: true;
  /** Divides each answer's log-ratio (or score, or log-prob) by the answer's length. */
  readonly perToken?: true;
  /** Adds the chosen answer's NLL per token, so that it needs the lengths. */
  readonly likelihood?: true;
  /** Needs KTO's reference point z₀. */
  readonly kl?: true;
  /**
   * Compares pairs of a batch by rank, so that it needs the whole batch and takes no weights: chosenLogps − `fixed` is ranked
   * against `moved` − refRejectedLogps.
   */
  readonly ranks?:
    | readonly [fixed: 'rejectedLogps', moved: 'refChosenLogps']
    | readonly [fixed: 'refChosenLogps', moved: 'rejectedLogps'];
  /** The range of `labelSmoothing`, where this loss allows less than the option does. */
  readonly labelSmoothing?: NumberRange;
}

// One constant per loss and no spreads, so that bundlers can drop the losses that are not used.

export const sigmoid = { reference: true, divergence: true } as const satisfies LossSpec;
export const hinge = { reference: true, divergence: true } as const satisfies LossSpec;
export const ipo = { reference: true, divergence: true, perToken: true } as const satisfies LossSpec;
// it contains log ε
export const exoPair = { reference: true, divergence: true, labelSmoothing: { above: 0 } } as const satisfies LossSpec;
export const ncaPair = { reference: true } as const satisfies LossSpec;
// it divides by 1 − 2ε
export const robust = {
  reference: true,
  divergence: true,
  labelSmoothing: { min: 0, max: 0.4999 },
} as const satisfies LossSpec;
export const bcoPair = { reference: true } as const satisfies LossSpec;
export const sppoHard = { reference: true } as const satisfies LossSpec;
// the policy's margins against the reference's margins
export const aot = { reference: true, ranks: ['rejectedLogps', 'refChosenLogps'] } as const satisfies LossSpec;
// the log-ratios of chosen answers against those of rejected answers
export const aotUnpaired = { reference: true, ranks: ['refChosenLogps', 'rejectedLogps'] } as const satisfies LossSpec;
export const apoZero = { reference: true } as const satisfies LossSpec;
export const apoDown = { reference: true } as const satisfies LossSpec;
export const discopop = { reference: true, divergence: true } as const satisfies LossSpec;
export const sft = { reference: false, perToken: true } as const satisfies LossSpec;
export const sigmoidNorm = { reference: true, divergence: true, perToken: true } as const satisfies LossSpec;
export const simpo = { reference: false, perToken: true } as const satisfies LossSpec;
export const orpo = { reference: false, perToken: true } as const satisfies LossSpec;
export const cpo = { reference: false, likelihood: true } as const satisfies LossSpec;
export const kto = { reference: true, kl: true } as const satisfies LossSpec;

/** Losses by their names in TRL: those of its DPO trainer, then those of its other trainers. `dpo` is `sigmoid`. */
export const LOSSES = {
  dpo: sigmoid,
  sigmoid,
  hinge,
  ipo,
  exo_pair: exoPair,
  nca_pair: ncaPair,
  robust,
  bco_pair: bcoPair,
  sppo_hard: sppoHard,
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
} as const satisfies Readonly<Record<string, LossSpec>>;

/** The name of a loss in TRL. */
export type LossType = keyof typeof LOSSES;

/**
 * The number options that each loss takes, in addition to `beta`, which all losses take, and `fAlphaDivergenceCoef`, which losses
 * with `divergence` take. LOSS_OPTIONS has their defaults and ranges.
 */
export const OPTIONS_OF_LOSS = {
  dpo: ['labelSmoothing'],
  sigmoid: ['labelSmoothing'],
  hinge: [],
  ipo: [],
  exo_pair: ['labelSmoothing'],
  nca_pair: [],
  robust: ['labelSmoothing'],
  bco_pair: ['bcoDelta'],
  sppo_hard: [],
  aot: ['labelSmoothing'],
  aot_unpaired: ['labelSmoothing'],
  apo_zero: [],
  apo_down: [],
  discopop: ['discopopTau'],
  sft: [],
  sigmoid_norm: ['labelSmoothing'],
  simpo: ['labelSmoothing', 'simpoGamma'],
  orpo: [],
  cpo: ['labelSmoothing', 'cpoAlpha'],
  kto: ['desirableWeight', 'undesirableWeight'],
} as const satisfies Readonly<Record<LossType, readonly NumberOptionName[]>>;

/** The losses whose specs have these entries. */
export type LossTypeWith<Flags> = { [L in LossType]: (typeof LOSSES)[L] extends Flags ? L : never }[LossType];

/** Losses of the policy alone, which need no reference. */
export type ReferenceFreeLossType = LossTypeWith<{ reference: false }>;

/** Losses that need the answers' lengths. */
export type PerTokenLossType = LossTypeWith<{ perToken: true } | { likelihood: true }>;

/** Losses that compare pairs by rank, which take no weights. */
export type RankedLossType = LossTypeWith<{ ranks: object }>;

/** The options that a loss takes. */
export type OptionsOf<L extends LossType> = Pick<
  LossOptions,
  | 'beta'
  | (typeof OPTIONS_OF_LOSS)[L][number]
  | ((typeof LOSSES)[L] extends { divergence: true } ? 'fDivergenceType' | 'fAlphaDivergenceCoef' : never)
>;

/** The names of all losses. */
export const lossTypes = (): LossType[] => Object.keys(LOSSES) as LossType[];

/** The options of `preferenceLoss`: one loss or several, and the options of these. */
export interface MixtureOptions<L extends LossType = LossType> extends LossOptions {
  /** One loss, or several that are added up. Default `sigmoid`. */
  lossType?: L | readonly L[];
  /** The factor of each of several losses. Default 1 each. */
  lossWeights?: readonly number[];
}

/** A loss of a mixture: its row of the table, its formula over tensors or over numbers, and its factor. */
export interface LossTerm<Formula> {
  readonly spec: LossSpec;
  readonly formula: Formula;
  readonly coefficient: number;
}

/** The losses of a mixture. @throws where a name is unknown, or there is not one finite weight per loss. */
export function mixture<Formula>(
  where: string,
  { lossType = 'sigmoid', lossWeights }: MixtureOptions,
  formulas: Readonly<Record<LossType, Formula>>,
): LossTerm<Formula>[] {
  const types = ([] as LossType[]).concat(lossType);
  const weights = checkNumbers(where, 'lossWeights', lossWeights ?? types.map(() => 1), FINITE, types.length || 1);
  return types.map((type, i) => {
    checkName(where, 'lossType', type, lossTypes());
    return { spec: LOSSES[type], formula: formulas[type], coefficient: weights[i]! };
  });
}

/** Whether a loss reads the reference under these options. Ranked losses do even with `refFree`. */
export const readsReference = ({ reference, ranks }: LossSpec, { refFree }: Settings): boolean =>
  reference && (!refFree || !!ranks);

/** The inputs that losses need in addition to the policy's log-probs. */
export interface LossNeeds {
  /** The reference's log-probs. */
  reference: boolean;
  /** The answers' lengths. */
  lengths: boolean;
  /** KTO's reference point. */
  kl: boolean;
  /** The whole batch at once, without weights: its pairs are compared by rank. */
  batch: boolean;
}

/**
 * The inputs that losses need under these options.
 *
 * @throws where a loss does not take an option. `labelSmoothing` may have a narrower range. Only losses of the difference of
 * two scores take an f-divergence: each score has a term β log Z(x), which cancels only in that difference.
 */
export function needsOf(specs: readonly LossSpec[], settings: Settings): LossNeeds {
  const { where, labelSmoothing, fDivergenceType, a } = settings;
  for (const { labelSmoothing: range } of specs) if (range) checkRange(where, 'labelSmoothing', labelSmoothing, range);
  const fits = (spec: LossSpec) => spec.divergence || !readsReference(spec, settings);
  if (a && !(specs.every(fits) && specs.some(({ divergence }) => divergence))) {
    throw new Error(
      `${where}: fDivergenceType: expected reverse_kl with these losses, found ${fDivergenceType}. ` +
        'Others go with losses of the difference of two scores, such as sigmoid.',
    );
  }
  return {
    reference: specs.some((spec) => readsReference(spec, settings)),
    lengths: specs.some(({ perToken, likelihood }) => perToken || likelihood),
    kl: specs.some(({ kl }) => kl),
    batch: specs.some(({ ranks }) => ranks),
  };
}

/**
 * The inputs that `preferenceLoss` needs under these options, in addition to the policy's log-probs.
 *
 * @param where what error messages begin with.
 * @throws what `preferenceLoss` would throw because of the options, before there is any input.
 */
export function lossNeeds(options: MixtureOptions & AttachedOptions = {}, where = 'lossNeeds'): LossNeeds {
  const settings = resolveOptions(where, options);
  return needsOf(
    mixture<LossSpec>(where, options, LOSSES).map(({ spec }) => spec),
    settings,
  );
}
