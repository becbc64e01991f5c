import { softplus } from '../ops';
import { BELOW_HALF } from '../range';
import { type LossSettings, type Term, term } from '../term';

/** Robust DPO (arXiv 2403.00409): (−(1−ε) log σ(βΔ) + ε log σ(−βΔ)) / (1 − 2ε). */
export const robust = ({ scored, beta, labelSmoothing: e }: LossSettings): Term[] => {
  const measure = { ...scored, smoothing: BELOW_HALF };
  return [
    term(measure, 'margin', softplus, -beta, 0, (1 - e) / (1 - 2 * e)),
    term(measure, 'margin', softplus, beta, 0, -e / (1 - 2 * e)),
  ];
};
