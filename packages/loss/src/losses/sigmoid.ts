import { softplus } from '../ops';
import { type LossSettings, type Measure, type Term, term } from '../term';

/** DPO (arXiv 2305.18290, equation 7), label-smoothed: −(1−ε) log σ(βΔ) − ε log σ(−βΔ). */
export const sigmoid = (settings: LossSettings): Term[] => smoothed(settings.scored, settings);

/** DPO with each score over its answer's length (Tülu 3, arXiv 2411.15124). */
export const sigmoidNorm = (settings: LossSettings): Term[] =>
  smoothed({ ...settings.scored, perToken: true }, settings);

/** AOT (arXiv 2406.05882): DPO in which margins of the policy and of the reference meet by rank. */
export const aot = (settings: LossSettings): Term[] =>
  smoothed({ reference: true, sort: ['rejectedLogps', 'refChosenLogps'] }, settings);

/** AOT of unpaired answers: DPO in which log-ratios of chosen and of rejected answers meet by rank. */
export const aotUnpaired = (settings: LossSettings): Term[] =>
  smoothed({ reference: true, sort: ['refChosenLogps', 'rejectedLogps'] }, settings);

/** −(1−ε) log σ(βx − γ) − ε log σ(γ − βx) of a margin x. */
export const smoothed = (measure: Measure, { beta, labelSmoothing: e }: LossSettings, gamma = 0): Term[] =>
  [term(measure, 'margin', softplus, -beta, gamma, 1 - e), term(measure, 'margin', softplus, beta, -gamma, e)].filter(
    ({ coefficient }) => coefficient,
  );
