import type * as tf from '@tensorflow/tfjs-core';
import type { LossType } from './loss-table';
import { add, clampMax, exp, expm1, log, mul, neg, relu, sigmoid as sigma, softplus, square, sub } from './ops';
import type { Settings } from './options';

// The losses over tensors; every tensor is [B], float32, B pairs. Above each is its formula, in the symbols of docs/losses.md:
// ρ_w, ρ_l: the loss's measure of the chosen and of the rejected answer, by default log π(y) − log π_ref(y)
// Δ = ρ_w − ρ_l; rewards r = β ρ; S = log σ, and softplus(x) = log(1 + e^x) = −S(−x)
// loss-table.ts says which losses read the reference, divide by length, take an f-divergence or compare by rank.

/** The inputs of a formula, each `[B]`. */
export interface Measured {
  /** ρ_w. */
  readonly chosen: tf.Tensor1D;
  /** ρ_l. */
  readonly rejected: tf.Tensor1D;
  /** Δ = ρ_w − ρ_l. */
  readonly margin: tf.Tensor1D;
  /** −log π(y_w) / |y_w|. */
  readonly nll: () => tf.Tensor1D;
  /** z₀, KTO's reference point. */
  readonly kl?: tf.Tensor1D;
}

/** The loss of each pair, differentiable. */
export type Formula = (pair: Measured, settings: Settings) => tf.Tensor1D;

/** −(1−ε) S(u) − ε S(−u). */
const smoothed = (u: tf.Tensor1D, e: number): tf.Tensor1D =>
  e ? add(mul(softplus(neg(u)), 1 - e), mul(softplus(u), e)) : softplus(neg(u));

/**
 * DPO (arXiv 2305.18290, equation 7), label-smoothed: −(1−ε) S(βΔ) − ε S(−βΔ). Also of `sigmoid_norm` (Tülu 3,
 * arXiv 2411.15124), whose ρ are divided by length, and of AOT (arXiv 2406.05882), whose ρ are matched by rank.
 */
export const sigmoid: Formula = ({ margin }, { beta, labelSmoothing }) => smoothed(mul(margin, beta), labelSmoothing);

/** SLiC-HF (arXiv 2305.10425, section 2) on log-ratios, as RSO does (arXiv 2309.06657, hinge-norm): max(0, 1 − βΔ). */
export const hinge: Formula = ({ margin }, { beta }) => relu(add(mul(margin, -beta), 1));

/**
 * IPO (arXiv 2310.12036, equation 17, whose τ is β): (Δ − 1/(2β))². ρ is divided by length: the authors told TRL that the
 * paper's results are of that form.
 */
export const ipo: Formula = ({ margin }, { beta }) => square(add(margin, -1 / (2 * beta)));

/** EXO (arXiv 2402.00856, equation 16), p = σ(βΔ), q = σ(−βΔ): p (log p − log(1−ε)) + q (log q − log ε). */
export const exoPair: Formula = ({ margin }, { beta, labelSmoothing: e }) => {
  const u = mul(margin, beta);
  const p = mul(sigma(u), add(softplus(neg(u)), Math.log1p(-e))); // −p (log p − log(1−ε))
  const q = mul(sigma(neg(u)), add(softplus(u), Math.log(e)));
  return neg(add(p, q));
};

/** NCA (arXiv 2402.05369, section 4, two answers): −S(r_w) − ½ S(−r_w) − ½ S(−r_l). */
export const ncaPair: Formula = ({ chosen, rejected }, { beta }) => {
  const rw = mul(chosen, beta);
  return add(add(softplus(neg(rw)), mul(softplus(rw), 0.5)), mul(softplus(mul(rejected, beta)), 0.5));
};

/** Robust DPO (arXiv 2403.00409, section 3): (−(1−ε) S(βΔ) + ε S(−βΔ)) / (1 − 2ε). */
export const robust: Formula = ({ margin }, { beta, labelSmoothing: e }) => {
  const u = mul(margin, beta);
  return add(mul(softplus(neg(u)), (1 - e) / (1 - 2 * e)), mul(softplus(u), -e / (1 - 2 * e)));
};

/** BCO (arXiv 2404.04656): −S(r_w − δ) − S(δ − r_l). */
export const bcoPair: Formula = ({ chosen, rejected }, { beta, bcoDelta }) =>
  add(softplus(add(mul(chosen, -beta), bcoDelta)), softplus(add(mul(rejected, beta), -bcoDelta)));

/** SPPO (arXiv 2405.00675, equation 4.7, with winning probability 1): (ρ_w − 1/(2β))² + (ρ_l + 1/(2β))². */
export const sppoHard: Formula = ({ chosen, rejected }, { beta }) =>
  add(square(add(chosen, -0.5 / beta)), square(add(rejected, 0.5 / beta)));

/** APO-zero (arXiv 2408.06266, equation 7), for chosen answers better than the policy's: (1 − σ(r_w)) + σ(r_l). */
export const apoZero: Formula = ({ chosen, rejected }, { beta }) =>
  add(sigma(mul(chosen, -beta)), sigma(mul(rejected, beta)));

/** APO-down (arXiv 2408.06266, equation 8), for chosen answers worse than the policy's: σ(r_w) + (1 − σ(r_w − r_l)). */
export const apoDown: Formula = ({ chosen, margin }, { beta }) =>
  add(sigma(mul(chosen, beta)), sigma(mul(margin, -beta)));

/** DiscoPOP (arXiv 2406.08414, equation 5), m = σ(βΔ/τ): (1 − m) (−S(βΔ)) + m e^−βΔ. */
export const discopop: Formula = ({ margin }, { beta, discopopTau }) => {
  const u = mul(margin, beta);
  const [m, rest] = [sigma(mul(u, 1 / discopopTau)), sigma(mul(neg(u), 1 / discopopTau))];
  return add(mul(rest, softplus(neg(u))), mul(m, exp(neg(u))));
};

/** MPO's generation loss (arXiv 2411.10442, section 3.2), RPO's NLL (arXiv 2404.19733, equation 1): −log π(y_w) / |y_w|. */
export const sft: Formula = ({ chosen }) => neg(chosen);

/** SimPO (arXiv 2405.14734, equation 6), ρ = log π(y) / |y|, label-smoothed as in TRL: −S(βΔ − γ). */
export const simpo: Formula = ({ margin }, { beta, labelSmoothing, simpoGamma }) =>
  smoothed(add(mul(margin, beta), -simpoGamma), labelSmoothing);

/** CPO (arXiv 2401.08417, equation 3 and its NLL), ρ = log π(y): −S(βΔ) + α nll. NLL per token, as in the authors' code. */
export const cpo: Formula = ({ margin, nll }, { beta, labelSmoothing, cpoAlpha }) =>
  add(smoothed(mul(margin, beta), labelSmoothing), mul(nll(), cpoAlpha));

/**
 * ORPO (arXiv 2403.07691, equations 3, 4, 6, 7), log P = ρ = log π(y) / |y|, odds = P / (1 − P), λ = β:
 * −log P_w − λ S(log odds_w − log odds_l).
 */
export const orpo: Formula = ({ chosen, rejected }, { beta }) =>
  add(neg(chosen), mul(softplus(neg(sub(logOdds(chosen), logOdds(rejected)))), beta));

/** −2^−24: log P of the float32 number below 1. Larger probabilities count as this one, because the odds of 1 are infinite. */
const LARGEST_LOG_P = -5.9604644775390625e-8;

/** log(P / (1 − P)) = log P − log(1 − P). */
function logOdds(logP: tf.Tensor1D): tf.Tensor1D {
  const x = clampMax(logP, LARGEST_LOG_P);
  return sub(x, log(neg(expm1(x))));
}

/**
 * KTO (arXiv 2402.01306, equation 7), a pair as one desirable and one undesirable answer:
 * λ_D (1 − σ(β (ρ_w − z₀))) + λ_U (1 − σ(β (z₀ − ρ_l))).
 */
export const kto: Formula = ({ chosen, rejected, kl }, { beta, desirableWeight, undesirableWeight }) =>
  add(
    mul(sigma(mul(sub(chosen, kl!), -beta)), desirableWeight),
    mul(sigma(mul(sub(rejected, kl!), beta)), undesirableWeight),
  );

export const FORMULAS: Readonly<Record<LossType, Formula>> = {
  dpo: sigmoid,
  sigmoid,
  hinge,
  ipo,
  exo_pair: exoPair,
  nca_pair: ncaPair,
  robust,
  bco_pair: bcoPair,
  sppo_hard: sppoHard,
  aot: sigmoid,
  aot_unpaired: sigmoid,
  apo_zero: apoZero,
  apo_down: apoDown,
  discopop,
  sft,
  sigmoid_norm: sigmoid,
  simpo,
  orpo,
  cpo,
  kto,
};
