import { relu } from '../ops';
import { type LossSettings, type Term, term } from '../term';

/** max(0, 1 − βΔ): SLiC-HF (arXiv 2305.10425, section 2) on log-ratios, as RSO does (arXiv 2309.06657, hinge-norm). */
export const hinge = ({ scored, beta }: LossSettings): Term[] => [term(scored, 'margin', relu, -beta, 1)];
