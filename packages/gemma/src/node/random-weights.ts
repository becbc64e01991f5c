import { xoshiro128, xoshiroState } from '@wpo/internal/random';
import type { Gemma2Config } from '../model';
import { tensorShapes } from '../weights';
import { PART_VALUES } from './stored-tensor';
import type { TensorValues } from './write-checkpoint';

/** Standard deviation of the weights, `initializer_range` of Gemma-2's config. */
const DEVIATION = 0.02;

/** A tensor of random values, which come in consecutive parts. A part is overwritten by the next one. */
export interface RandomTensor extends TensorValues {
  data(): Iterable<Float32Array>;
}

/**
 * Random weights for a model: normally distributed around 0 with standard deviation 0.02, as transformers initializes Gemma-2.
 * That includes the norms' weights, which count as 1 + w.
 *
 * The same seed gives the same values on every machine. Each tensor has a random stream of its own, so a tensor's values do not
 * depend on when it is written. Values are drawn from the 65,536 quantiles of the distribution at the middle of equal parts,
 * which takes one random number for two values.
 *
 * @param options.seed a whole number from 0 to 2^32 - 1
 * @returns the tensors in checkpoint order
 * @throws RangeError for a size out of range
 */
export function randomWeights(config: Gemma2Config, options: { readonly seed: number }): RandomTensor[] {
  const quantiles = normalQuantiles(DEVIATION);
  return Array.from(tensorShapes(config), ([name, shape], index) => ({
    name,
    shape,
    *data() {
      const size = shape.reduce((product, length) => product * length, 1);
      const next = xoshiro128(xoshiroState([options.seed, index]));
      const part = new Float32Array(Math.min(PART_VALUES, size));
      for (let done = 0; done < size; done += PART_VALUES) {
        const values = part.subarray(0, Math.min(PART_VALUES, size - done));
        fill(values, next, quantiles);
        yield values;
      }
    },
  }));
}

function fill(values: Float32Array, next: () => number, quantiles: Float32Array): void {
  for (let i = 0; i < values.length; i += 2) {
    const word = next();
    values[i] = quantiles[word & 0xffff]!;
    if (i + 1 < values.length) values[i + 1] = quantiles[word >>> 16]!;
  }
}

/** Quantiles (i + 1/2) / 65,536 of a normal distribution around 0. */
function normalQuantiles(deviation: number): Float32Array {
  const count = 2 ** 16;
  const quantiles = new Float32Array(count);
  for (let i = 0; i < count / 2; i++) {
    const value = deviation * lowerNormalQuantile((i + 0.5) / count);
    quantiles[i] = value;
    quantiles[count - 1 - i] = -value;
  }
  return quantiles;
}

/**
 * The standard normal quantile of a probability below 1/2: P. J. Acklam's rational approximations, relative error 1.2e-9.
 * https://web.archive.org/web/20151030215612/http://home.online.no/~pjacklam/notes/invnorm/
 */
function lowerNormalQuantile(p: number): number {
  if (p < 0.02425) {
    const q = Math.sqrt(-2 * Math.log(p));
    return polynomial(C, q) / (q * polynomial(D, q) + 1);
  }
  const q = p - 0.5;
  const r = q * q;
  return (q * polynomial(A, r)) / (r * polynomial(B, r) + 1);
}

/** Horner's scheme; the coefficient of the highest power comes first. */
const polynomial = (coefficients: readonly number[], x: number) => coefficients.reduce((sum, c) => sum * x + c, 0);

const A = [
  -39.69683028665376, 220.9460984245205, -275.9285104469687, 138.357751867269, -30.66479806614716, 2.506628277459239,
];
const B = [-54.47609879822406, 161.5858368580409, -155.6989798598866, 66.80131188771972, -13.28068155288572];
const C = [
  -0.007784894002430293, -0.3223964580411365, -2.400758277161838, -2.549732539343734, 4.374664141464968,
  2.938163982698783,
];
const D = [0.007784695709041462, 0.3224671290700398, 2.445134137142996, 3.754408661907416];
