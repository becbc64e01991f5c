import { square } from '../ops';
import { type LossSettings, type Term, term } from '../term';

/** SPPO (arXiv 2405.00675, equation 4.7, the winner's probability taken as 1): (ρ_w − 1/(2β))² + (ρ_l + 1/(2β))², ρ the log-ratio. */
export const sppo = ({ ratio, beta }: LossSettings): Term[] => [
  term(ratio, 'chosen', square, 1, -0.5 / beta),
  term(ratio, 'rejected', square, 1, 0.5 / beta),
];
