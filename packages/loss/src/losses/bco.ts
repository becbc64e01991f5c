import { softplus } from '../ops';
import { type LossSettings, type Term, term } from '../term';

/** BCO (arXiv 2404.04656): −log σ(r_w − δ) − log σ(δ − r_l), r = β log-ratio. */
export const bco = ({ ratio, beta, bcoDelta }: LossSettings): Term[] => [
  term(ratio, 'chosen', softplus, -beta, bcoDelta),
  term(ratio, 'rejected', softplus, beta, -bcoDelta),
];
