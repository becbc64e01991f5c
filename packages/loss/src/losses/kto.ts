import { sigmoid } from '../ops';
import { type LossSettings, type Term, term } from '../term';

/**
 * KTO (arXiv 2402.01306, equation 7) of a pair as one desirable and one undesirable answer:
 * λ_D (1 − σ(β (ρ_w − z₀))) + λ_U (1 − σ(β (z₀ − ρ_l))), ρ the log-ratio, z₀ the reference point.
 */
export const kto = ({ ratio, beta, desirableWeight, undesirableWeight }: LossSettings): Term[] => {
  const measure = { ...ratio, kl: true };
  return [
    term(measure, 'chosen', sigmoid, -beta, 0, desirableWeight),
    term(measure, 'rejected', sigmoid, beta, 0, undesirableWeight),
  ];
};
