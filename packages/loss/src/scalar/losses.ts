import type { LossType } from '../loss-types';
import type { Needs } from '../needs';
import { ABOVE_0, BELOW_HALF } from '../range';
import type { Settings } from '../settings';
import { difference, product, sigmoid, sigmoidSlope, softplus } from './numbers';

/** What a loss is computed from, for one pair. docs/losses.md lists the equations. */
export interface PairRewards {
  /** r_w: β times what `Needs` selects of the chosen answer (by default its log-ratio to the reference). */
  readonly rw: number;
  /** r_l: the same of the rejected answer. */
  readonly rl: number;
  /** u = r_w − r_l. */
  readonly u: number;
  /** −log π(y_w) / |y_w|. */
  readonly nll: number;
}

/** A loss and its partial derivatives by u, r_w, r_l and nll. A trailing derivative that is left out is 0. */
export type LossDerivatives = readonly [loss: number, byU: number, byRw?: number, byRl?: number, byNll?: number];

type Formula = (pair: PairRewards, settings: Settings & { readonly kl?: number }) => LossDerivatives;

export type Loss = readonly [needs: Needs, formula: Formula];

// written out, for a spread is a side effect to a bundler
const RATIO = { reference: true };
const SCORE = { reference: true, score: true };
const MEAN_SCORE = { reference: true, score: true, perToken: true };
const MEAN = { perToken: true };

/**
 * −(1−ε) log σ(u) − ε log σ(−u)
 * d/du = ε σ(u) − (1−ε) σ(−u)
 */
const smoothed = (u: number, e: number): [loss: number, byU: number] => [
  (1 - e) * softplus(-u) + product(e, softplus(u)),
  e * sigmoid(u) - (1 - e) * sigmoid(-u),
];

const sigmoidOf: Formula = ({ u }, { labelSmoothing }) => smoothed(u, labelSmoothing);

export const sigmoidLoss: Loss = [SCORE, sigmoidOf];

/** ORPO's probabilities are at most 1 − 2^−24, the float32 number below 1, because the odds of 1 are infinite. */
const LARGEST_LOG_P = -5.9604644775390625e-8;

/**
 * x = log P: log(P / (1 − P)) = x − log(1 − e^x)
 * d/dx = 1 / (1 − e^x), and 0 above the largest log P
 */
const logOdds = (logP: number): [value: number, slope: number] => {
  const x = Math.min(logP, LARGEST_LOG_P);
  return [x - Math.log(-Math.expm1(x)), logP > LARGEST_LOG_P ? 0 : -1 / Math.expm1(x)];
};

export const LOSSES: Readonly<Record<LossType, Loss>> = {
  dpo: sigmoidLoss,
  sigmoid: sigmoidLoss,
  // max(0, 1 − u); d/du = −1 for u < 1, else 0
  hinge: [SCORE, ({ u }) => [Math.max(0, 1 - u), u < 1 ? -1 : 0]],
  // (u/β − 1/(2β))²; d/du = 2 (u − ½) / β²
  ipo: [MEAN_SCORE, ({ u }, { beta }) => [((u - 0.5) / beta) ** 2, (2 * (u - 0.5)) / beta ** 2]],
  // σ(u) (log σ(u) − log(1−ε)) + σ(−u) (log σ(−u) − log ε); d/du = σ′(u) (u − log((1−ε)/ε))
  exo_pair: [
    { reference: true, score: true, smoothing: ABOVE_0 },
    ({ u }, { labelSmoothing: e }) => {
      const half = (x: number, target: number) => product(sigmoid(x), -softplus(-x) - Math.log(target));
      return [half(u, 1 - e) + half(-u, e), product(sigmoidSlope(u), u - Math.log((1 - e) / e))];
    },
  ],
  // −log σ(r_w) − ½ log σ(−r_w) − ½ log σ(−r_l); d/dr_w = −σ(−r_w) + ½ σ(r_w), d/dr_l = ½ σ(r_l)
  nca_pair: [
    RATIO,
    ({ rw, rl }) => [
      softplus(-rw) + softplus(rw) / 2 + softplus(rl) / 2,
      0,
      sigmoid(rw) / 2 - sigmoid(-rw),
      sigmoid(rl) / 2,
    ],
  ],
  // (−(1−ε) log σ(u) + ε log σ(−u)) / (1 − 2ε); d/du = −((1−ε) σ(−u) + ε σ(u)) / (1 − 2ε)
  robust: [
    { reference: true, score: true, smoothing: BELOW_HALF },
    ({ u }, { labelSmoothing: e }) => [
      ((1 - e) * softplus(-u) - product(e, softplus(u))) / (1 - 2 * e),
      -((1 - e) * sigmoid(-u) + e * sigmoid(u)) / (1 - 2 * e),
    ],
  ],
  // −log σ(r_w − δ) − log σ(δ − r_l); d/dr_w = −σ(δ − r_w), d/dr_l = σ(r_l − δ)
  bco_pair: [
    RATIO,
    ({ rw, rl }, { bcoDelta: delta }) => [
      softplus(delta - rw) + softplus(rl - delta),
      0,
      -sigmoid(delta - rw),
      sigmoid(rl - delta),
    ],
  ],
  // (r_w/β − 1/(2β))² + (r_l/β + 1/(2β))²; d/dr_w = 2 (r_w − ½) / β², d/dr_l = 2 (r_l + ½) / β²
  sppo_hard: [
    RATIO,
    ({ rw, rl }, { beta }) => [
      ((rw - 0.5) / beta) ** 2 + ((rl + 0.5) / beta) ** 2,
      0,
      (2 * (rw - 0.5)) / beta ** 2,
      (2 * (rl + 0.5)) / beta ** 2,
    ],
  ],
  aot: [{ reference: true, sort: ['rejectedLogps', 'refChosenLogps'] }, sigmoidOf],
  aot_unpaired: [{ reference: true, sort: ['refChosenLogps', 'rejectedLogps'] }, sigmoidOf],
  // (1 − σ(r_w)) + σ(r_l); d/dr_w = −σ′(r_w), d/dr_l = σ′(r_l)
  apo_zero: [RATIO, ({ rw, rl }) => [sigmoid(-rw) + sigmoid(rl), 0, -sigmoidSlope(rw), sigmoidSlope(rl)]],
  // σ(r_w) + (1 − σ(u)); d/dr_w = σ′(r_w), d/du = −σ′(u)
  apo_down: [RATIO, ({ u, rw }) => [sigmoid(rw) + sigmoid(-u), -sigmoidSlope(u), sigmoidSlope(rw)]],
  // m = σ(u/τ): (1−m) (−log σ(u)) + m e^−u; d/du = −m (1−m) (−log σ(u)) / τ − (1−m) σ(−u) + m ((1−m)/τ − 1) e^−u
  discopop: [
    SCORE,
    ({ u }, { discopopTau: tau }) => {
      const [m, rest] = [sigmoid(u / tau), sigmoid(-u / tau)];
      return [
        product(rest, softplus(-u)) + product(m, Math.exp(-u)),
        product((-m * rest) / tau, softplus(-u)) - rest * sigmoid(-u) + product(m * (rest / tau - 1), Math.exp(-u)),
      ];
    },
  ],
  // −log π(y_w) / |y_w|
  sft: [MEAN, ({ nll }) => [nll, 0, 0, 0, 1]],
  sigmoid_norm: [MEAN_SCORE, sigmoidOf],
  // −(1−ε) log σ(u − γ) − ε log σ(γ − u)
  simpo: [MEAN, ({ u }, { labelSmoothing, simpoGamma }) => smoothed(u - simpoGamma, labelSmoothing)],
  // nll − β log σ(z), z = log odds(y_w) − log odds(y_l); d/dlog P(y_w) = −β σ(−z) · d log odds, and r = β log P
  orpo: [
    MEAN,
    ({ rw, rl, nll }, { beta }) => {
      const [[oddsW, slopeW], [oddsL, slopeL]] = [logOdds(rw / beta), logOdds(rl / beta)];
      const z = difference(oddsW, oddsL);
      return [nll + beta * softplus(-z), 0, -sigmoid(-z) * slopeW, sigmoid(-z) * slopeL, 1];
    },
  ],
  // −(1−ε) log σ(u) − ε log σ(−u) + α nll
  cpo: [
    { nll: true },
    ({ u, nll }, { labelSmoothing, cpoAlpha }) => {
      const [loss, byU] = smoothed(u, labelSmoothing);
      return [loss + product(cpoAlpha, nll), byU, 0, 0, cpoAlpha];
    },
  ],
  // λ_D (1 − σ(r_w − βz₀)) + λ_U (1 − σ(βz₀ − r_l)); d/dr_w = −λ_D σ′(r_w − βz₀), d/dr_l = λ_U σ′(r_l − βz₀)
  kto: [
    { reference: true, kl: true },
    ({ rw, rl }, { beta, kl = 0, desirableWeight, undesirableWeight }) => {
      const [w, l] = [rw - beta * kl, rl - beta * kl];
      return [
        desirableWeight * sigmoid(-w) + undesirableWeight * sigmoid(l),
        0,
        -desirableWeight * sigmoidSlope(w),
        undesirableWeight * sigmoidSlope(l),
      ];
    },
  ],
};
