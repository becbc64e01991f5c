import { checkName, checkRange, type NumberRange } from './checks';

/** The divergence that keeps the policy near its reference, by TRL's names. DPO's own is `reverse_kl`. */
export type FDivergenceType = 'reverse_kl' | 'forward_kl' | 'js_divergence' | 'alpha_divergence';

/** Every option of every loss: TRL's names in camel case, except `bcoDelta`, which TRL's DPO trainer does not have. */
export interface LossOptions {
  /** β: how strongly the loss keeps the policy near its reference, above 0. Default 0.1. It is IPO's τ, SPPO's 1/η and ORPO's λ. */
  beta?: number;
  /** ε: the share of pairs whose labels are assumed to be flipped, 0 to 0.5. Default 0. */
  labelSmoothing?: number;
  /** The divergence that keeps the policy near its reference. Default `reverse_kl`. */
  fDivergenceType?: FDivergenceType;
  /** α of `alpha_divergence`: 1 is the reverse KL, 0 the forward KL. Default 0.5. */
  fAlphaDivergenceCoef?: number;
  /** τ of DiscoPOP, above 0. Default 0.05. */
  discopopTau?: number;
  /** γ of SimPO: the target reward margin, at least 0. Default 0.5. */
  simpoGamma?: number;
  /** α of CPO: the weight of its NLL term, at least 0. Default 1. */
  cpoAlpha?: number;
  /** λ_D of KTO: the weight of chosen answers, at least 0. Default 1. */
  desirableWeight?: number;
  /** λ_U of KTO: the weight of rejected answers, at least 0. Default 1. */
  undesirableWeight?: number;
  /** δ of BCO: its reward shift. Default 0, as in TRL's DPO trainer; the paper uses the running mean of all rewards. */
  bcoDelta?: number;
  /** Takes log π_ref as 0, so that no reference is needed. Default false. */
  refFree?: boolean;
}

export interface AttachedOptions {
  /** Whether gradient flows through the weights too. Default false: weights are constants. */
  attached?: boolean;
}

/** The names of the options that are numbers. */
export type NumberOptionName = {
  [K in keyof LossOptions]-?: LossOptions[K] extends number | undefined ? K : never;
}[keyof LossOptions];

export interface NumberOption extends NumberRange {
  readonly default: number;
}

/** The default and the range of every option that is a number. A loss may narrow the range of `labelSmoothing`. */
export const LOSS_OPTIONS: Readonly<Record<NumberOptionName, NumberOption>> = {
  beta: { default: 0.1, above: 0 },
  labelSmoothing: { default: 0, min: 0, max: 0.5 },
  fAlphaDivergenceCoef: { default: 0.5 },
  discopopTau: { default: 0.05, above: 0 },
  simpoGamma: { default: 0.5, min: 0 },
  cpoAlpha: { default: 1, min: 0 },
  desirableWeight: { default: 1, min: 0 },
  undesirableWeight: { default: 1, min: 0 },
  bcoDelta: { default: 0 },
};

/** Options with their defaults filled in, checked against their ranges. */
export interface Settings extends Readonly<Record<NumberOptionName, number>> {
  /** The function that the user called, for error messages. */
  readonly where: string;
  readonly refFree?: boolean;
  readonly attached?: boolean;
  readonly fDivergenceType: FDivergenceType;
  /** a = α − 1 of the α-divergence: −1 for the forward KL, and 0 for the reverse KL, whose score is the log-ratio itself. */
  readonly a: number;
}

/** @throws where an option is out of range, or the f-divergence is unknown. */
export function resolveOptions(where: string, options: LossOptions & AttachedOptions): Settings {
  const settings = { ...options, where } as Settings & Record<NumberOptionName, number>;
  for (const [name, option] of Object.entries(LOSS_OPTIONS) as [NumberOptionName, NumberOption][]) {
    settings[name] ??= option.default;
    checkRange(where, name, settings[name], option);
  }
  const { fDivergenceType = 'reverse_kl', fAlphaDivergenceCoef } = settings;
  const alphas = { reverse_kl: 1, forward_kl: 0, js_divergence: 0, alpha_divergence: fAlphaDivergenceCoef };
  checkName(where, 'fDivergenceType', fDivergenceType, Object.keys(alphas));
  const a = alphas[fDivergenceType] - 1;
  return { ...settings, fDivergenceType, a: Math.abs(a) < 1e-6 ? 0 : a };
}

/**
 * The term that a token's log-prob is compared with, so that answers of the policy itself have a weight near 1 however confident
 * the policy is. `sampled`: log Σ_v p_v², the log of the expected probability of a sampled token (the paper's
 * choice). `greedy`: log max_v p_v, the log-prob of the most likely token. `none`: 0.
 */
export type Alignment = 'sampled' | 'greedy' | 'none';

/** The field of an answer's tokens that holds each alignment's term. */
export const ALIGNMENT_TERMS = { sampled: 'logSumSquares', greedy: 'logMax', none: undefined } as const;

/** How WPO weights are computed. */
export interface WeightNumbers {
  /** The term that token log-probs are compared with. Default `sampled`. */
  alignment?: Alignment;
  /** Whether a weight is at most 1. Default true, as in the paper's code; false is TRL's form. */
  clamp?: boolean;
  /** τ: divides s(y_w) + s(y_l), above 0. Default 1, the paper's. A larger τ moves all weights towards 1. */
  temperature?: number;
}
