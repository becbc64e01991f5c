import type * as tf from '@tensorflow/tfjs-core';
import type { AnswerLengths, PolicyLogps, ReferenceLogps, ReferencePoint, Weighted } from './inputs';
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
import type { TensorInput } from './measured';
import { type LossResult, pairLoss } from './pair-loss';
import type {
  AttachedOptions,
  BcoOptions,
  BetaOptions,
  CpoOptions,
  DiscopopOptions,
  DivergenceOptions,
  KtoOptions,
  LossOptions,
  SimpoOptions,
  SmoothingOptions,
} from './settings';
import { type LossSettings, lossSettings, type Term } from './term';

/** log π(y) of each pair's answers under policy and reference, summed over answer tokens; each `[B]`, float32. */
export type PreferenceLogps = PolicyLogps<tf.Tensor1D> & ReferenceLogps<tf.Tensor1D>;

type Policy = PolicyLogps<tf.Tensor1D> & Weighted<tf.Tensor1D>;
type Reference = ReferenceLogps<tf.Tensor1D>;
type Lengths = AnswerLengths<tf.Tensor1D>;
type Unweighted = PreferenceLogps & { weights?: undefined };

/** A loss against a reference; with `refFree: true` there is none, and without it the types refuse its absence. */
interface ReferencedLoss<Options, Needs = unknown> {
  (input: Policy & Reference & Needs, options?: Options & AttachedOptions & { refFree?: false }): LossResult;
  (input: Policy & Needs, options: Options & AttachedOptions & { refFree: true }): LossResult;
}

/** A loss of the policy alone. */
type FreeLoss<Options, Needs = unknown> = (input: Policy & Needs, options?: Options & AttachedOptions) => LossResult;

type SortingLoss = (input: Unweighted, options?: SmoothingOptions) => LossResult;

/** The loss that `define` makes of the options. `where` names the function that was called. */
export function loss(
  where: string,
  define: (settings: LossSettings) => Term[],
  input: TensorInput,
  options: LossOptions & AttachedOptions = {},
): LossResult {
  const settings = lossSettings(where, options);
  return pairLoss(input, define(settings), settings);
}

/**
 * Direct Preference Optimization (arXiv 2305.18290), label-smoothed: −(1−ε) log σ(βΔ) − ε log σ(−βΔ).
 *
 * Of every loss here: log-probs are `[B]`, float32; where policy and reference both rule an answer out (−∞), its log-ratio
 * counts as 0; it throws where shapes do not match, there are no pairs, or an option is out of range.
 */
export const dpoLoss: ReferencedLoss<SmoothingOptions & DivergenceOptions> = (input, options) =>
  loss('dpoLoss', sigmoid, input, options);

/** DPO with each log-ratio over its answer's length (Tülu 3, arXiv 2411.15124): −log σ(β (ρ_w / |y_w| − ρ_l / |y_l|)). */
export const sigmoidNormLoss: ReferencedLoss<SmoothingOptions & DivergenceOptions, Lengths> = (input, options) =>
  loss('sigmoidNormLoss', sigmoidNorm, input, options);

/** max(0, 1 − βΔ) (SLiC-HF, arXiv 2305.10425; RSO, arXiv 2309.06657). */
export const hingeLoss: ReferencedLoss<BetaOptions & DivergenceOptions> = (input, options) =>
  loss('hingeLoss', hinge, input, options);

/** (ρ_w / |y_w| − ρ_l / |y_l| − 1/(2β))² (IPO, arXiv 2310.12036, per token). */
export const ipoLoss: ReferencedLoss<BetaOptions & DivergenceOptions, Lengths> = (input, options) =>
  loss('ipoLoss', ipo, input, options);

/** DPO's loss unbiased by a share ε < 0.5 of flipped labels (Robust DPO, arXiv 2403.00409). */
export const robustLoss: ReferencedLoss<SmoothingOptions & DivergenceOptions> = (input, options) =>
  loss('robustLoss', robust, input, options);

/** KL of (σ(βΔ), σ(−βΔ)) from (1−ε, ε) (EXO, arXiv 2402.00856). `labelSmoothing` must be above 0; the paper takes 1e-3. */
export const exoLoss: ReferencedLoss<
  SmoothingOptions & DivergenceOptions & Required<Pick<SmoothingOptions, 'labelSmoothing'>>
> = (input, options) => loss('exoLoss', exo, input, options);

/** −log σ(r_w) − ½ log σ(−r_w) − ½ log σ(−r_l) (NCA, arXiv 2402.05369). */
export const ncaLoss: ReferencedLoss<BetaOptions> = (input, options) => loss('ncaLoss', nca, input, options);

/** −log σ(r_w − δ) − log σ(δ − r_l) (BCO, arXiv 2404.04656). */
export const bcoLoss: ReferencedLoss<BcoOptions> = (input, options) => loss('bcoLoss', bco, input, options);

/** (ρ_w − 1/(2β))² + (ρ_l + 1/(2β))² (SPPO with hard labels, arXiv 2405.00675). */
export const sppoLoss: ReferencedLoss<BetaOptions> = (input, options) => loss('sppoLoss', sppo, input, options);

/** (1 − σ(r_w)) + σ(r_l) (APO-zero, arXiv 2408.06266). */
export const apoZeroLoss: ReferencedLoss<BetaOptions> = (input, options) =>
  loss('apoZeroLoss', apoZero, input, options);

/** σ(r_w) + (1 − σ(r_w − r_l)) (APO-down, arXiv 2408.06266). */
export const apoDownLoss: ReferencedLoss<BetaOptions> = (input, options) =>
  loss('apoDownLoss', apoDown, input, options);

/** (1 − m) (−log σ(βΔ)) + m e^−βΔ, m = σ(βΔ/τ) (DiscoPOP, arXiv 2406.08414). */
export const discopopLoss: ReferencedLoss<DiscopopOptions & DivergenceOptions> = (input, options) =>
  loss('discopopLoss', discopop, input, options);

/**
 * AOT (arXiv 2406.05882): DPO in which the policy's k-th largest margin meets the reference's k-th largest, in the batch
 * given. A pair's loss stands where its policy's margin does. Takes no weights: docs/losses.md says why.
 */
export const aotLoss: SortingLoss = (input, options) => loss('aotLoss', aot, input, options);

/** AOT of unpaired answers: the k-th largest log-ratio of chosen answers meets the k-th largest of rejected ones. */
export const aotUnpairedLoss: SortingLoss = (input, options) => loss('aotUnpairedLoss', aotUnpaired, input, options);

/** −log π(y_w) / |y_w|: what MPO and RPO add to a preference loss. */
export const sftLoss: FreeLoss<BetaOptions, Lengths> = (input, options) => loss('sftLoss', sft, input, options);

/** −log σ(β (log π(y_w) / |y_w| − log π(y_l) / |y_l|) − γ) (SimPO, arXiv 2405.14734, which takes β 2 to 2.5). */
export const simpoLoss: FreeLoss<SimpoOptions, Lengths> = (input, options) => loss('simpoLoss', simpo, input, options);

/** −log σ(β (log π(y_w) − log π(y_l))) + α (−log π(y_w) / |y_w|) (CPO, arXiv 2401.08417). */
export const cpoLoss: FreeLoss<CpoOptions, Lengths> = (input, options) => loss('cpoLoss', cpo, input, options);

/** −log π(y_w) / |y_w| − β log σ(log odds(y_w) − log odds(y_l)), β the paper's λ (ORPO, arXiv 2403.07691). */
export const orpoLoss: FreeLoss<BetaOptions, Lengths> = (input, options) => loss('orpoLoss', orpo, input, options);

/** λ_D (1 − σ(β (ρ_w − z₀))) + λ_U (1 − σ(β (z₀ − ρ_l))), z₀ = `kl` (KTO, arXiv 2402.01306), held constant. */
export const ktoLoss: ReferencedLoss<KtoOptions, ReferencePoint<tf.Tensor | number>> = (input, options) =>
  loss('ktoLoss', kto, input, options);
