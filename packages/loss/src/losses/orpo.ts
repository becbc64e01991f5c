import { atMost, expm1, log, mul, softplus, sub } from '../ops';
import { type Curve, type LossSettings, type Term, term } from '../term';
import { sft } from './sft';

/**
 * ORPO (arXiv 2403.07691, equations 3, 4, 6 and 7): NLL + λ · −log σ(log odds(y_w) − log odds(y_l)), odds = P / (1 − P),
 * P = π(y)^(1/|y|), λ = β.
 */
export const orpo = ({ beta }: LossSettings): Term[] => [
  ...sft(),
  term({ perToken: true, odds: logOdds }, 'margin', softplus, -1, 0, beta),
];

/** −2^−24, the log of float32's step below 1: a likelier answer counts as this likely, or its odds would be infinite. */
const LIKELIEST = -5.9604644775390625e-8;

/** log(P / (1 − P)) of log P. */
const logOdds: Curve = (logP) => {
  const x = atMost(logP, LIKELIEST);
  return sub(x, log(mul(expm1(x), -1)));
};
