import { gradientNorm, type OptimizerKernel, type Parameter, portableOptimizer } from '@wpo/trainer';
import { hasOperation, nativeOperations, runOver, withNumbers } from './native';

/**
 * Returns native updates for the optimizers of `@wpo/trainer`, e.g. `adamW({ kernel })`. Without native operations it returns undefined,
 * and optimizers run their portable updates.
 */
export const tensorflowOptimizer = (): OptimizerKernel | undefined =>
  nativeOperations() ? nativeOptimizer : undefined;

/** The operation of a rule, and the names of its scalars in the order of the operation's parameters. */
const OPERATIONS: Readonly<Record<string, { readonly operation: string; readonly scalars: readonly string[] }>> = {
  AdamW: {
    operation: 'WpoAdamW',
    scalars: [
      'gradientScale',
      'oneMinusBeta1',
      'beta2',
      'oneMinusBeta2',
      'epsilon',
      'stepSize',
      'biasCorrection2Sqrt',
      'decayFactor',
    ],
  },
};

/** Updates all parameters and their states in place, in one operation. A rule without an operation runs its portable update. */
export const nativeOptimizer: OptimizerKernel = {
  zeros: portableOptimizer.zeros,
  update(rule, updates, scalars) {
    const native = OPERATIONS[rule.name];
    if (!native || !hasOperation(native.operation)) return portableOptimizer.update(rule, updates, scalars);
    const tensors = updates.flatMap(({ parameter, gradient, state }) => [
      parameter.value(),
      ...Object.values(state),
      gradient,
    ]);
    const numbers = native.scalars.map((name) => scalars[name]!);
    withNumbers(numbers, (params) => runOver(native.operation, [params], tensors).dispose());
  },
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
