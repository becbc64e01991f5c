import { type AdamWKernel, gradientNorm, type Parameter } from '@wpo/trainer';
import { nativeOperations, runOver, withNumbers } from './native';

/**
 * Returns the native update for `adamW({ kernel })`. Without native operations it returns undefined, and `adamW` runs its portable
 * update.
 */
export const tensorflowAdamW = (): AdamWKernel | undefined => (nativeOperations() ? nativeAdamW : undefined);

/** Updates all parameters and moments in place, in one operation. */
export const nativeAdamW: AdamWKernel = (updates, how) => {
  const { gradientScale, beta1, beta2, epsilon, stepSize, biasCorrection2Sqrt, decayFactor } = how;
  const tensors = updates.flatMap(({ parameter, gradient, moments: { expAvg, expAvgSq } }) => {
    return [parameter.value(), expAvg, expAvgSq, gradient];
  });
  withNumbers([gradientScale, beta1, beta2, epsilon, stepSize, biasCorrection2Sqrt, decayFactor], (params) =>
    runOver('WpoAdamW', [params], tensors).dispose(),
  );
  return updates.map(({ moments }) => moments);
};

/**
 * Returns a function for `train({ computeNorm })`: the L2 norm of all gradients. The native function sums in float64 and makes no
 * squared copy of a gradient. Without native operations it is the trainer's portable function.
 */
export const tensorflowGradientNorm = (): ((parameters: readonly Parameter[]) => Promise<number>) =>
  nativeOperations() ? nativeGradientNorm : gradientNorm;

export async function nativeGradientNorm(parameters: readonly Parameter[]): Promise<number> {
  const gradients = parameters.map((parameter) => parameter.gradient()).filter((gradient) => gradient !== null);
  if (gradients.length === 0) return 0;
  const sums = runOver('WpoSquareSums', [], gradients);
  let total = 0;
  for (const sum of await sums.data()) total += sum;
  sums.dispose();
  return Math.sqrt(total);
}
