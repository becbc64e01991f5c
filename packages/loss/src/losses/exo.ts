import { add, mul, sigmoid, softplus } from '../ops';
import { ABOVE_0 } from '../range';
import { type Curve, type LossSettings, type Term, term } from '../term';

/** EXO on preferences (arXiv 2402.00856, equation 16): KL between (σ(βΔ), σ(−βΔ)) and (1−ε, ε), ε above 0; the paper takes 1e-3. */
export const exo = ({ scored, beta, labelSmoothing: e }: LossSettings): Term[] => [
  term({ ...scored, smoothing: ABOVE_0 }, 'margin', divergenceTo(Math.log1p(-e), Math.log(e)), beta),
];

/** σ(x) (log σ(x) − log p) + σ(−x) (log σ(−x) − log q), given log p and log q. */
const divergenceTo =
  (logP: number, logQ: number): Curve =>
  (x) => {
    const back = mul(x, -1);
    const [up, down] = [add(softplus(back), logP), add(softplus(x), logQ)];
    return mul(add(mul(sigmoid(x), up), mul(sigmoid(back), down)), -1);
  };
