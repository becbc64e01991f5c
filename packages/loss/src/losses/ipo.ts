import { square } from '../ops';
import { type LossSettings, type Term, term } from '../term';

/**
 * (Δ − 1/(2β))², IPO (arXiv 2310.12036, equation 17, its τ being β), each log-ratio over its answer's length: TRL does so
 * on the authors' word that the paper's results are of that form.
 */
export const ipo = ({ scored, beta }: LossSettings): Term[] => [
  term({ ...scored, perToken: true }, 'margin', square, 1, -1 / (2 * beta)),
];
