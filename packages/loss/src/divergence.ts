import { atMost, expm1, mul, softplus, sub } from './ops';
import type { Settings } from './settings';
import type { Curve } from './term';

/**
 * f′(e^x), x the log-ratio of policy to reference (f-DPO, arXiv 2309.16240); undefined where it is
 * x itself.
 */
export const divergenceScore = ({ fDivergenceType, a }: Settings): Curve | undefined =>
  fDivergenceType === 'js_divergence' ? jensenShannon : a ? power(a) : undefined;

/** f′(t) = log(2t / (t + 1)). */
const jensenShannon: Curve = (x) => mul(sub(softplus(mul(x, -1)), Math.LN2), -1);

/** f′(t) = (t^a − 1) / a. Level past e^80, which is still a float32, as in TRL. */
const power =
  (a: number): Curve =>
  (x) =>
    mul(expm1(atMost(mul(x, a), 80)), 1 / a);
