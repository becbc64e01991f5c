import { softplus } from '../ops';
import { type LossSettings, type Term, term } from '../term';

/** NCA on pairs (arXiv 2402.05369): −log σ(r_w) − ½ log σ(−r_w) − ½ log σ(−r_l), r = β log-ratio. */
export const nca = ({ ratio, beta }: LossSettings): Term[] => [
  term(ratio, 'chosen', softplus, -beta),
  term(ratio, 'chosen', softplus, beta, 0, 0.5),
  term(ratio, 'rejected', softplus, beta, 0, 0.5),
];
