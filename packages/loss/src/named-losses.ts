import * as tf from '@tensorflow/tfjs-core';
import { checkFloats } from './check-tensors';
import type { AnswerLengths, PolicyInput, PolicyLogps, ReferenceInput, ReferenceLogps, ReferencePoint } from './inputs';
import type { LossSpec, OptionsOf } from './loss-table';
import * as table from './loss-table';
import * as formulas from './losses';
import { detached, relu } from './ops';
import { type AttachedOptions, type LossOptions, resolveOptions } from './options';
import { type LossResult, pairLoss, type TensorInput } from './preference-loss';

// One function per loss, so that a bundle holds only the losses that it imports. In every function here, log-probs are `[B]`,
// float32. Where policy and reference both give an answer log-probability −∞, its log-ratio is 0. Every function throws where a shape does
// not match, there are no pairs, or an option is out of range. @wpo/loss's preferenceLoss takes the loss by name.

/** log π(y) of each pair's answers under policy and reference, summed over the answer's tokens; each `[B]`, float32. */
export type PreferenceLogps = PolicyLogps<tf.Tensor1D> & ReferenceLogps<tf.Tensor1D>;

/** A loss that reads the reference, unless `refFree` is true: TypeScript then requires none. `Needs`: its other inputs. */
export interface ReferenceLoss<Options, Needs = unknown> {
  (input: ReferenceInput<tf.Tensor1D> & Needs, options?: Options & AttachedOptions & { refFree?: false }): LossResult;
  (input: PolicyInput<tf.Tensor1D> & Needs, options: Options & AttachedOptions & { refFree: true }): LossResult;
}

/** A loss of the policy alone. `Needs`: its other inputs. */
export type PolicyLoss<Options, Needs = unknown> = (
  input: PolicyInput<tf.Tensor1D> & Needs,
  options?: Options & AttachedOptions,
) => LossResult;

/** A loss that compares pairs by rank, and takes no weights. */
export type RankedLoss<Options> = (input: PreferenceLogps & { weights?: undefined }, options?: Options) => LossResult;

function one(
  where: string,
  spec: LossSpec,
  formula: formulas.Formula,
  input: TensorInput,
  options: LossOptions & AttachedOptions = {},
): LossResult {
  return pairLoss(input, [{ spec, formula, coefficient: 1 }], resolveOptions(where, options));
}

/** DPO (arXiv 2305.18290), label-smoothed: −(1−ε) log σ(βΔ) − ε log σ(−βΔ). */
export const dpoLoss: ReferenceLoss<OptionsOf<'sigmoid'>> = (input, options) =>
  one('dpoLoss', table.sigmoid, formulas.sigmoid, input, options);

/** DPO with each log-ratio divided by its answer's length (Tülu 3, arXiv 2411.15124): −log σ(β (ρ_w / |y_w| − ρ_l / |y_l|)). */
export const sigmoidNormLoss: ReferenceLoss<OptionsOf<'sigmoid_norm'>, AnswerLengths<tf.Tensor1D>> = (input, options) =>
  one('sigmoidNormLoss', table.sigmoidNorm, formulas.sigmoid, input, options);

/** max(0, 1 − βΔ) (SLiC-HF, arXiv 2305.10425; RSO, arXiv 2309.06657). */
export const hingeLoss: ReferenceLoss<OptionsOf<'hinge'>> = (input, options) =>
  one('hingeLoss', table.hinge, formulas.hinge, input, options);

/** (ρ_w / |y_w| − ρ_l / |y_l| − 1/(2β))² (IPO, arXiv 2310.12036, per token). */
export const ipoLoss: ReferenceLoss<OptionsOf<'ipo'>, AnswerLengths<tf.Tensor1D>> = (input, options) =>
  one('ipoLoss', table.ipo, formulas.ipo, input, options);

/** DPO's loss corrected for a share ε < 0.5 of flipped labels (Robust DPO, arXiv 2403.00409). */
export const robustLoss: ReferenceLoss<OptionsOf<'robust'>> = (input, options) =>
  one('robustLoss', table.robust, formulas.robust, input, options);

/** KL of (σ(βΔ), σ(−βΔ)) from (1−ε, ε) (EXO, arXiv 2402.00856). `labelSmoothing` must be above 0; the paper uses 1e-3. */
export const exoLoss: ReferenceLoss<OptionsOf<'exo_pair'> & Required<Pick<OptionsOf<'exo_pair'>, 'labelSmoothing'>>> = (
  input,
  options,
) => one('exoLoss', table.exoPair, formulas.exoPair, input, options);

/** −log σ(r_w) − ½ log σ(−r_w) − ½ log σ(−r_l) (NCA, arXiv 2402.05369). */
export const ncaLoss: ReferenceLoss<OptionsOf<'nca_pair'>> = (input, options) =>
  one('ncaLoss', table.ncaPair, formulas.ncaPair, input, options);

/** −log σ(r_w − δ) − log σ(δ − r_l) (BCO, arXiv 2404.04656). */
export const bcoLoss: ReferenceLoss<OptionsOf<'bco_pair'>> = (input, options) =>
  one('bcoLoss', table.bcoPair, formulas.bcoPair, input, options);

/** (ρ_w − 1/(2β))² + (ρ_l + 1/(2β))² (SPPO with hard labels, arXiv 2405.00675). */
export const sppoLoss: ReferenceLoss<OptionsOf<'sppo_hard'>> = (input, options) =>
  one('sppoLoss', table.sppoHard, formulas.sppoHard, input, options);

/** (1 − σ(r_w)) + σ(r_l) (APO-zero, arXiv 2408.06266). */
export const apoZeroLoss: ReferenceLoss<OptionsOf<'apo_zero'>> = (input, options) =>
  one('apoZeroLoss', table.apoZero, formulas.apoZero, input, options);

/** σ(r_w) + (1 − σ(r_w − r_l)) (APO-down, arXiv 2408.06266). */
export const apoDownLoss: ReferenceLoss<OptionsOf<'apo_down'>> = (input, options) =>
  one('apoDownLoss', table.apoDown, formulas.apoDown, input, options);

/** (1 − m) (−log σ(βΔ)) + m e^−βΔ, m = σ(βΔ/τ) (DiscoPOP, arXiv 2406.08414). */
export const discopopLoss: ReferenceLoss<OptionsOf<'discopop'>> = (input, options) =>
  one('discopopLoss', table.discopop, formulas.discopop, input, options);

/**
 * AOT (arXiv 2406.05882): DPO in which the policy's k-th largest margin of the batch is compared with the reference's k-th
 * largest. A loss has the index of the pair whose policy margin it contains. It takes no weights; docs/losses.md says why.
 */
export const aotLoss: RankedLoss<OptionsOf<'aot'>> = (input, options) =>
  one('aotLoss', table.aot, formulas.sigmoid, input, options);

/** Unpaired AOT: the k-th largest log-ratio of chosen answers is compared with the k-th largest of rejected ones. */
export const aotUnpairedLoss: RankedLoss<OptionsOf<'aot_unpaired'>> = (input, options) =>
  one('aotUnpairedLoss', table.aotUnpaired, formulas.sigmoid, input, options);

/** −log π(y_w) / |y_w|: the NLL that MPO and RPO add to a preference loss. */
export const sftLoss: PolicyLoss<OptionsOf<'sft'>, AnswerLengths<tf.Tensor1D>> = (input, options) =>
  one('sftLoss', table.sft, formulas.sft, input, options);

/** −log σ(β (log π(y_w) / |y_w| − log π(y_l) / |y_l|) − γ) (SimPO, arXiv 2405.14734, which uses β 2 to 2.5). */
export const simpoLoss: PolicyLoss<OptionsOf<'simpo'>, AnswerLengths<tf.Tensor1D>> = (input, options) =>
  one('simpoLoss', table.simpo, formulas.simpo, input, options);

/** −log σ(β (log π(y_w) − log π(y_l))) + α (−log π(y_w) / |y_w|) (CPO, arXiv 2401.08417). */
export const cpoLoss: PolicyLoss<OptionsOf<'cpo'>, AnswerLengths<tf.Tensor1D>> = (input, options) =>
  one('cpoLoss', table.cpo, formulas.cpo, input, options);

/** −log π(y_w) / |y_w| − β log σ(log odds(y_w) − log odds(y_l)), β the paper's λ (ORPO, arXiv 2403.07691). */
export const orpoLoss: PolicyLoss<OptionsOf<'orpo'>, AnswerLengths<tf.Tensor1D>> = (input, options) =>
  one('orpoLoss', table.orpo, formulas.orpo, input, options);

/** λ_D (1 − σ(β (ρ_w − z₀))) + λ_U (1 − σ(β (z₀ − ρ_l))), z₀ = `kl` (KTO, arXiv 2402.01306), a constant. */
export const ktoLoss: ReferenceLoss<OptionsOf<'kto'>, ReferencePoint<tf.Tensor | number>> = (input, options) =>
  one('ktoLoss', table.kto, formulas.kto, input, options);

/**
 * KTO's z₀ (arXiv 2402.01306, section 4): max(0, mean(log π(y′) − log π_ref(y′))), where each y′ is an answer to another
 * prompt, evaluated under this one. No gradient flows through it.
 *
 * @param logps `[N]`, float32. @param refLogps `[N]`. @returns `[1]`; the caller's to dispose.
 */
export function klEstimate(logps: tf.Tensor1D, refLogps: tf.Tensor1D): tf.Tensor1D {
  checkFloats('klEstimate', 'logps', logps, 'answers');
  checkFloats('klEstimate', 'refLogps', refLogps, logps.shape);
  return detached([logps, refLogps], () => relu(tf.mean<tf.Tensor1D>(tf.sub(logps, refLogps), 0, true)));
}

export interface WpoLossInput extends PolicyLogps<tf.Tensor1D>, ReferenceLogps<tf.Tensor1D> {
  /** The factor of each pair's loss, `[B]`, float32, at least 0: `wpoWeights`, or their product with your own weights. */
  weights: tf.Tensor1D;
}

export type DpoOptions = OptionsOf<'sigmoid'> & AttachedOptions;

/** The result of `dpoLoss`, with the weighted losses. */
export type WpoLossResult = Omit<LossResult, 'unweightedLosses'> & {
  /** Before weighting. Differentiable. */
  dpoLosses: tf.Tensor1D;
};

/**
 * Weighted Preference Optimization (arXiv 2406.11827): w · (−(1−ε) log σ(βΔ) − ε log σ(−βΔ)), per pair. A batch's loss is
 * the mean over its pairs; weights are not renormalized. No gradient flows through the weights unless `attached`. A pair of
 * weight 0 has loss 0 even where its DPO loss is infinite.
 *
 * @throws where a shape does not match, there are no pairs, or an option is out of range.
 */
export function wpoLoss(input: WpoLossInput, options: DpoOptions = {}): WpoLossResult {
  checkFloats('wpoLoss', 'weights', input.weights, 'pairs');
  const { unweightedLosses: dpoLosses, ...rest } = one('wpoLoss', table.sigmoid, formulas.sigmoid, input, options);
  return { ...rest, dpoLosses };
}
