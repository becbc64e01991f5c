import { checkName } from './nearest';
import { ABOVE_0, checkRange, FINITE, FROM_0, type Range } from './range';

/** What holds the policy to its reference, in TRL's names: `reverse_kl` is DPO's own. */
export type FDivergenceType = 'reverse_kl' | 'forward_kl' | 'js_divergence' | 'alpha_divergence';

export interface BetaOptions {
  /** How hard the policy is held to its reference, above 0. Default 0.1. IPO's τ, SPPO's 1/η, ORPO's λ. */
  beta?: number;
}

export interface SmoothingOptions extends BetaOptions {
  /** ε: the share of pairs taken to be labelled the wrong way round, 0 to 0.5. Default 0. */
  labelSmoothing?: number;
}

export interface AttachedOptions {
  /** Whether gradient flows into the weights too. Default false: they say how much to learn, not what. */
  attached?: boolean;
}

export interface DivergenceOptions {
  /** What holds the policy to its reference. Default `reverse_kl`, DPO's own. */
  fDivergenceType?: FDivergenceType;
  /** α of `alpha_divergence`: 1 is the reverse KL, 0 the forward. Default 0.5. */
  fAlphaDivergenceCoef?: number;
}

export interface DiscopopOptions extends BetaOptions {
  /** DiscoPOP's τ, above 0. Default 0.05. */
  discopopTau?: number;
}

export interface SimpoOptions extends SmoothingOptions {
  /** γ: the margin that SimPO asks of rewards, at least 0. Default 0.5. */
  simpoGamma?: number;
}

export interface CpoOptions extends SmoothingOptions {
  /** α: how much CPO's likelihood term counts, at least 0. Default 1. */
  cpoAlpha?: number;
}

export interface KtoOptions extends BetaOptions {
  /** λ_D: what KTO counts a chosen answer, at least 0. Default 1. */
  desirableWeight?: number;
  /** λ_U: what KTO counts a rejected answer, at least 0. Default 1. */
  undesirableWeight?: number;
}

export interface BcoOptions extends BetaOptions {
  /** δ: BCO's reward shift. Default 0, as in TRL's DPO trainer; the paper's is the running mean of all rewards. */
  bcoDelta?: number;
}

/** Every option of every loss, by TRL's names in camel case; `bcoDelta` is this package's own. */
export interface LossOptions
  extends DivergenceOptions,
    DiscopopOptions,
    SimpoOptions,
    CpoOptions,
    KtoOptions,
    BcoOptions {
  /** Takes log π_ref as 0 throughout, so that no reference is needed. Default false. */
  refFree?: boolean;
}

type NumberName = {
  [K in keyof LossOptions]-?: LossOptions[K] extends number | undefined ? K : never;
}[keyof LossOptions];

/** Options with defaults filled in, within their ranges. */
export interface Settings extends Readonly<Record<NumberName, number>> {
  /** The function that was called, for errors. */
  readonly where: string;
  readonly refFree?: boolean;
  readonly attached?: boolean;
  readonly fDivergenceType: FDivergenceType;
  /** α − 1 of the α-divergence, which for the forward KL is −1; 0, the reverse KL, leaves log-ratios as they are. */
  readonly a: number;
}

const NUMBERS: Record<NumberName, readonly [byDefault: number, range: Range]> = {
  beta: [0.1, ABOVE_0],
  labelSmoothing: [0, [0, 0.5]],
  fAlphaDivergenceCoef: [0.5, FINITE],
  discopopTau: [0.05, ABOVE_0],
  simpoGamma: [0.5, FROM_0],
  cpoAlpha: [1, FROM_0],
  desirableWeight: [1, FROM_0],
  undesirableWeight: [1, FROM_0],
  bcoDelta: [0, FINITE],
};

/** @throws where an option is out of its range or of no known kind. */
export function settle(where: string, options: LossOptions & AttachedOptions): Settings {
  const settings = { ...options, where } as Settings & Record<NumberName, number>;
  for (const [name, [byDefault, range]] of Object.entries(NUMBERS) as [NumberName, (typeof NUMBERS)[NumberName]][]) {
    settings[name] ??= byDefault;
    checkRange(where, name, settings[name], range);
  }
  const { fDivergenceType = 'reverse_kl', fAlphaDivergenceCoef } = settings;
  const alphas = { reverse_kl: 1, forward_kl: 0, js_divergence: 0, alpha_divergence: fAlphaDivergenceCoef };
  checkName(where, 'fDivergenceType', fDivergenceType, Object.keys(alphas));
  const a = alphas[fDivergenceType] - 1;
  return { ...settings, fDivergenceType, a: Math.abs(a) < 1e-6 ? 0 : a };
}
