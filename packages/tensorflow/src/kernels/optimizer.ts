import { type AdamWKernel, gradientNorm, type Parameter } from '@wpo/trainer';
import { nativeOperations, runOver, withNumbers } from './native';

/** AdamW's update in one pass and in place: no copy of a parameter or of its moments. */
export const fusedUpdate: AdamWKernel = (updates, how) => {
  const { gradientScale, beta1, beta2, epsilon, stepSize, biasCorrection2Sqrt, decayFactor } = how;
  const tensors = updates.flatMap(({ parameter, gradient, moments: { expAvg, expAvgSq } }) => {
    return [parameter.value(), expAvg, expAvgSq, gradient];
  });
  withNumbers([gradientScale, beta1, beta2, epsilon, stepSize, biasCorrection2Sqrt, decayFactor], (numbers) =>
    runOver('WpoAdamW', [numbers], tensors).dispose(),
  );
  return updates.map(({ moments }) => moments);
};

/** For `adamW({ kernel })`: the native update; undefined, which selects the portable one, where it was not built. */
export const tensorflowAdamW = (): AdamWKernel | undefined => (nativeOperations() ? fusedUpdate : undefined);

/**
 * For `train({ computeNorm })`: the L2 norm of all gradients. The native one sums in float64 and squares no copy of a
 * gradient; the portable one is used where it was not built.
 */
export const tensorflowGradientNorm = (): ((parameters: readonly Parameter[]) => Promise<number>) =>
  nativeOperations() ? fusedNorm : gradientNorm;

export async function fusedNorm(parameters: readonly Parameter[]): Promise<number> {
  const gradients = parameters.map((parameter) => parameter.gradient()).filter((gradient) => gradient !== null);
  if (gradients.length === 0) return 0;
  const sums = runOver('WpoSquareSums', [], gradients);
  let total = 0;
  for (const sum of await sums.data()) total += sum;
  sums.dispose();
  return Math.sqrt(total);
}
