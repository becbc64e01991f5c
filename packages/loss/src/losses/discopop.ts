import { add, exp, mul, sigmoid, softplus } from '../ops';
import { type Curve, type LossSettings, type Term, term } from '../term';

/** DiscoPOP (arXiv 2406.08414, equation 5): (1 − m) (−log σ(βΔ)) + m e^−βΔ, m = σ(βΔ/τ). */
export const discopop = ({ scored, beta, discopopTau }: LossSettings): Term[] => [
  term(scored, 'margin', logRatioModulated(1 / discopopTau), beta),
];

/** m = σ(k x). */
const logRatioModulated =
  (k: number): Curve =>
  (x) => {
    const back = mul(x, -1);
    return add(mul(sigmoid(mul(back, k)), softplus(back)), mul(sigmoid(mul(x, k)), exp(back)));
  };
