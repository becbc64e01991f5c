import type { LossType } from '../loss-table';
import type { Settings } from '../options';
import { difference, product, sigmoid as sigma, sigmoidDerivative as sigmaDerivative, softplus } from './math';

// The losses over numbers, each with its derivatives. Above each is its formula, in the symbols of docs/losses.md: σ is the
// logistic function, S = log σ, and softplus(x) = log(1 + e^x) = −S(−x), whose derivative is σ(x).

/** The inputs of a formula, for one pair. */
export interface PairRewards {
  /** r_w: β times the loss's measure of the chosen answer, by default log π(y_w) − log π_ref(y_w). */
  readonly rw: number;
  /** r_l: the same of the rejected answer. */
  readonly rl: number;
  /** u = r_w − r_l = βΔ. */
  readonly u: number;
  /** −log π(y_w) / |y_w|. */
  readonly nll: number;
  /** z₀, KTO's reference point. */
  readonly kl: number;
}

/** A loss and its partial derivatives by u, r_w, r_l and nll. Trailing derivatives that are left out are 0. */
export type LossDerivatives = readonly [loss: number, byU: number, byRw?: number, byRl?: number, byNll?: number];

export type Formula = (pair: PairRewards, settings: Settings) => LossDerivatives;

/**
 * −(1−ε) S(u) − ε S(−u)
 * d/du = ε σ(u) − (1−ε) σ(−u)
 */
const smoothed = (u: number, e: number): [loss: number, byU: number] => [
  (1 - e) * softplus(-u) + product(e, softplus(u)),
  e * sigma(u) - (1 - e) * sigma(-u),
];

/** `smoothed` of u. */
export const sigmoid: Formula = ({ u }, { labelSmoothing }) => smoothed(u, labelSmoothing);

/** log P of the float32 number below 1. Larger probabilities count as this one, because the odds of 1 are infinite. */
const LARGEST_LOG_P = -5.9604644775390625e-8;

/**
 * x = log P: log(P / (1 − P)) = x − log(1 − e^x)
 * d/dx = 1 / (1 − e^x), and 0 where P is larger than the largest
 */
const logOdds = (logP: number): [value: number, derivative: number] => {
  const x = Math.min(logP, LARGEST_LOG_P);
  return [x - Math.log(-Math.expm1(x)), logP > LARGEST_LOG_P ? 0 : -1 / Math.expm1(x)];
};

export const FORMULAS: Readonly<Record<LossType, Formula>> = {
  dpo: sigmoid,
  sigmoid,

  // max(0, 1 − u)
  // d/du = −1 where u < 1, else 0
  hinge: ({ u }) => [Math.max(0, 1 - u), u < 1 ? -1 : 0],

  // (Δ − 1/(2β))², Δ = u/β
  // d/du = 2 (u − ½) / β²
  ipo: ({ u }, { beta }) => [((u - 0.5) / beta) ** 2, (2 * (u - 0.5)) / beta ** 2],

  // p (log p − log(1−ε)) + q (log q − log ε), p = σ(u), q = σ(−u)
  // d/du = σ′(u) (u − log((1−ε)/ε)), because log p − log q = u
  exo_pair: ({ u }, { labelSmoothing: e }) => [
    product(sigma(u), -softplus(-u) - Math.log(1 - e)) + product(sigma(-u), -softplus(u) - Math.log(e)),
    product(sigmaDerivative(u), u - Math.log((1 - e) / e)),
  ],

  // −S(r_w) − ½ S(−r_w) − ½ S(−r_l)
  // d/dr_w = ½ σ(r_w) − σ(−r_w), d/dr_l = ½ σ(r_l)
  nca_pair: ({ rw, rl }) => [
    softplus(-rw) + softplus(rw) / 2 + softplus(rl) / 2,
    0,
    sigma(rw) / 2 - sigma(-rw),
    sigma(rl) / 2,
  ],

  // (−(1−ε) S(u) + ε S(−u)) / (1 − 2ε)
  // d/du = −((1−ε) σ(−u) + ε σ(u)) / (1 − 2ε)
  robust: ({ u }, { labelSmoothing: e }) => [
    ((1 - e) * softplus(-u) - product(e, softplus(u))) / (1 - 2 * e),
    -((1 - e) * sigma(-u) + e * sigma(u)) / (1 - 2 * e),
  ],

  // −S(r_w − δ) − S(δ − r_l)
  // d/dr_w = −σ(δ − r_w), d/dr_l = σ(r_l − δ)
  bco_pair: ({ rw, rl }, { bcoDelta: delta }) => [
    softplus(delta - rw) + softplus(rl - delta),
    0,
    -sigma(delta - rw),
    sigma(rl - delta),
  ],

  // (ρ_w − 1/(2β))² + (ρ_l + 1/(2β))², ρ = r/β
  // d/dr_w = 2 (r_w − ½) / β², d/dr_l = 2 (r_l + ½) / β²
  sppo_hard: ({ rw, rl }, { beta }) => [
    ((rw - 0.5) / beta) ** 2 + ((rl + 0.5) / beta) ** 2,
    0,
    (2 * (rw - 0.5)) / beta ** 2,
    (2 * (rl + 0.5)) / beta ** 2,
  ],

  // `smoothed` of rewards that are matched by rank
  aot: sigmoid,
  aot_unpaired: sigmoid,

  // (1 − σ(r_w)) + σ(r_l)
  // d/dr_w = −σ′(r_w), d/dr_l = σ′(r_l)
  apo_zero: ({ rw, rl }) => [sigma(-rw) + sigma(rl), 0, -sigmaDerivative(rw), sigmaDerivative(rl)],

  // σ(r_w) + (1 − σ(u))
  // d/du = −σ′(u), d/dr_w = σ′(r_w)
  apo_down: ({ u, rw }) => [sigma(rw) + sigma(-u), -sigmaDerivative(u), sigmaDerivative(rw)],

  // (1 − m) (−S(u)) + m e^−u, m = σ(u/τ)
  // d/du = −m (1−m) (−S(u)) / τ − (1−m) σ(−u) + m ((1−m)/τ − 1) e^−u
  discopop: ({ u }, { discopopTau: tau }) => {
    const [m, rest] = [sigma(u / tau), sigma(-u / tau)];
    return [
      product(rest, softplus(-u)) + product(m, Math.exp(-u)),
      product((-m * rest) / tau, softplus(-u)) - rest * sigma(-u) + product(m * (rest / tau - 1), Math.exp(-u)),
    ];
  },

  // nll
  sft: ({ nll }) => [nll, 0, 0, 0, 1],

  // `smoothed` of u, with rewards divided by length
  sigmoid_norm: sigmoid,

  // `smoothed` of u − γ
  simpo: ({ u }, { labelSmoothing, simpoGamma }) => smoothed(u - simpoGamma, labelSmoothing),

  // nll − β S(z), z = log odds_w − log odds_l, odds = P / (1 − P), log P = r/β
  // d/dr_w = −σ(−z) · (d log odds_w / d log P_w), d/dr_l = σ(−z) · (d log odds_l / d log P_l)
  orpo: ({ rw, rl, nll }, { beta }) => {
    const [[oddsW, derivativeW], [oddsL, derivativeL]] = [logOdds(rw / beta), logOdds(rl / beta)];
    const z = difference(oddsW, oddsL);
    return [nll + beta * softplus(-z), 0, -sigma(-z) * derivativeW, sigma(-z) * derivativeL, 1];
  },

  // `smoothed` of u, plus α nll
  cpo: ({ u, nll }, { labelSmoothing, cpoAlpha }) => {
    const [loss, byU] = smoothed(u, labelSmoothing);
    return [loss + product(cpoAlpha, nll), byU, 0, 0, cpoAlpha];
  },

  // λ_D (1 − σ(v)) + λ_U σ(x), v = r_w − β z₀, x = r_l − β z₀
  // d/dr_w = −λ_D σ′(v), d/dr_l = λ_U σ′(x)
  kto: ({ rw, rl, kl }, { beta, desirableWeight, undesirableWeight }) => {
    const [v, x] = [rw - beta * kl, rl - beta * kl];
    return [
      desirableWeight * sigma(-v) + undesirableWeight * sigma(x),
      0,
      -desirableWeight * sigmaDerivative(v),
      undesirableWeight * sigmaDerivative(x),
    ];
  },
};
