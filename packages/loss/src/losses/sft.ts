import { type Term, term } from '../term';

/** −log π(y_w) / |y_w|: MPO's generation loss (arXiv 2411.10442, section 3.2), RPO’s NLL term (arXiv 2404.19733, equation 1). */
export const sft = (): Term[] => [term({ perToken: true }, 'chosen', (x) => x, -1)];
