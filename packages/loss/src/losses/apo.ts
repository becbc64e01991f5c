import { sigmoid } from '../ops';
import { type LossSettings, type Term, term } from '../term';

/** APO-zero (arXiv 2408.06266, equation 7): (1 − σ(r_w)) + σ(r_l), r = β log-ratio. For chosen answers better than the policy's. */
export const apoZero = ({ ratio, beta }: LossSettings): Term[] => [
  term(ratio, 'chosen', sigmoid, -beta),
  term(ratio, 'rejected', sigmoid, beta),
];

/** APO-down (arXiv 2408.06266, equation 8): σ(r_w) + (1 − σ(r_w − r_l)). For chosen answers worse than the policy's. */
export const apoDown = ({ ratio, beta }: LossSettings): Term[] => [
  term(ratio, 'chosen', sigmoid, beta),
  term(ratio, 'margin', sigmoid, -beta),
];
