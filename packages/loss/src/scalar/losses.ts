import type { LossType } from '../loss-types';
import type { Needs } from '../needs';
import { ABOVE_0, BELOW_HALF } from '../range';
import type { Settings } from '../settings';
import { difference, product, sigmoid, softplus } from './numbers';

/**
 * A loss of one pair, in numbers: docs/losses.md has its equation.
 *
 * @param u β times the margin, w − l.
 * @param w β times what `needs` says of the chosen answer: by default its log-ratio.
 * @param l the same of the rejected answer.
 * @param nll −log π(y_w) / |y_w|.
 */
type Formula = (u: number, settings: Settings & { readonly kl?: number }, w: number, l: number, nll: number) => number;

export type Loss = readonly [needs: Needs, formula: Formula];

// written out, for a spread is a side effect to a bundler
const RATIO = { reference: true };
const SCORE = { reference: true, score: true };
const MEAN_SCORE = { reference: true, score: true, perToken: true };
const MEAN = { perToken: true };

/** −(1−ε) log σ(u) − ε log σ(−u). */
const smoothed = (u: number, e: number) => (1 - e) * softplus(-u) + product(e, softplus(u));

const sigmoidOf: Formula = (u, { labelSmoothing }) => smoothed(u, labelSmoothing);

export const sigmoidLoss: Loss = [SCORE, sigmoidOf];

/** log(P / (1 − P)) of log P, which float32's step below 1 bounds. */
const logOdds = (logP: number) => {
  const x = Math.min(logP, -5.9604644775390625e-8);
  return x - Math.log(-Math.expm1(x));
};

export const LOSSES: Readonly<Record<LossType, Loss>> = {
  dpo: sigmoidLoss,
  sigmoid: sigmoidLoss,
  hinge: [SCORE, (u) => Math.max(0, 1 - u)],
  ipo: [MEAN_SCORE, (u, { beta }) => ((u - 0.5) / beta) ** 2],
  exo_pair: [
    { reference: true, score: true, smoothing: ABOVE_0 },
    (u, { labelSmoothing: e }) => {
      const half = (x: number, target: number) => product(sigmoid(x), -softplus(-x) - Math.log(target));
      return half(u, 1 - e) + half(-u, e);
    },
  ],
  nca_pair: [RATIO, (_u, _s, w, l) => softplus(-w) + softplus(w) / 2 + softplus(l) / 2],
  robust: [
    { reference: true, score: true, smoothing: BELOW_HALF },
    (u, { labelSmoothing: e }) => ((1 - e) * softplus(-u) - product(e, softplus(u))) / (1 - 2 * e),
  ],
  bco_pair: [RATIO, (_u, { bcoDelta }, w, l) => softplus(bcoDelta - w) + softplus(l - bcoDelta)],
  sppo_hard: [RATIO, (_u, { beta }, w, l) => ((w - 0.5) / beta) ** 2 + ((l + 0.5) / beta) ** 2],
  aot: [{ reference: true, sort: ['rejectedLogps', 'refChosenLogps'] }, sigmoidOf],
  aot_unpaired: [{ reference: true, sort: ['refChosenLogps', 'rejectedLogps'] }, sigmoidOf],
  apo_zero: [RATIO, (_u, _s, w, l) => sigmoid(-w) + sigmoid(l)],
  apo_down: [RATIO, (u, _s, w) => sigmoid(w) + sigmoid(-u)],
  discopop: [
    SCORE,
    (u, { discopopTau: tau }) => product(sigmoid(-u / tau), softplus(-u)) + product(sigmoid(u / tau), Math.exp(-u)),
  ],
  sft: [MEAN, (_u, _s, _w, _l, nll) => nll],
  sigmoid_norm: [MEAN_SCORE, sigmoidOf],
  simpo: [MEAN, (u, { labelSmoothing, simpoGamma }) => smoothed(u - simpoGamma, labelSmoothing)],
  orpo: [MEAN, (_u, { beta }, w, l, nll) => nll + beta * softplus(difference(logOdds(l / beta), logOdds(w / beta)))],
  cpo: [
    { nll: true },
    (u, { labelSmoothing, cpoAlpha }, _w, _l, nll) => smoothed(u, labelSmoothing) + product(cpoAlpha, nll),
  ],
  kto: [
    { reference: true, kl: true },
    (_u, { beta, kl = 0, desirableWeight, undesirableWeight }, w, l) =>
      desirableWeight * sigmoid(beta * kl - w) + undesirableWeight * sigmoid(l - beta * kl),
  ],
};
