import { type AdamWKernel, gradientNorm, type Parameter } from '@wpo/trainer';
import { nativeOperations, runOver, withNumbers } from './native';
import { rawOperations } from './raw/operation';
import { rawNorm, rawUpdate } from './raw/optimizer';

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

/**
 * For `adamW({ kernel })`: the fused update where there is one, else TensorFlow's own; undefined, which is composed from
 * tfjs, on another backend.
 */
export function tensorflowAdamW(): AdamWKernel | undefined {
  if (nativeOperations()) return fusedUpdate;
  return rawOperations() ? rawUpdate : undefined;
}

/**
 * For `train({ computeNorm })`: the L2 norm of all gradients without squaring a copy of any. The fused one sums in float64,
 * TensorFlow's own in float32 within a parameter.
 */
export function tensorflowGradientNorm(): (parameters: readonly Parameter[]) => Promise<number> {
  if (nativeOperations()) return fusedNorm;
  return rawOperations() ? rawNorm : gradientNorm;
}

export async function fusedNorm(parameters: readonly Parameter[]): Promise<number> {
  const gradients = parameters.map((parameter) => parameter.gradient()).filter((gradient) => gradient !== null);
  if (gradients.length === 0) return 0;
  const sums = runOver('WpoSquareSums', [], gradients);
  let total = 0;
  for (const sum of await sums.data()) total += sum;
  sums.dispose();
  return Math.sqrt(total);
}
