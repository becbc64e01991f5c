import { type Term, term } from '../term';

/** −log π(y_w) / |y_w|: MPO's generation loss (arXiv 2411.10442, equation 5), RPO's NLL term. */
export const sft = (): Term[] => [term({ perToken: true }, 'chosen', (x) => x, -1)];
