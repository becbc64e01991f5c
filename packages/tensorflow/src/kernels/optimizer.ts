import * as tf from '@tensorflow/tfjs-core';
import type { Value } from '@wpo/gemma';
import { gradientNorm, type OptimizerKernel, type Parameter, portableOptimizer, type Values } from '@wpo/trainer';
import { hasOperation, nativeOperations } from './native';
import { program } from './program';
import { StoredVariable } from './store';

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
  zeros: (shape) => StoredVariable.zeros(shape, program),
  update(rule, updates, scalars) {
    const native = OPERATIONS[rule.name];
    if (!native || !hasOperation(native.operation)) return portableOptimizer.update(rule, updates, scalars);
    const list = updates.flatMap(({ parameter, gradient, state }) => [
      operandOf(parameter.value()),
      ...Object.values(state).map(operandOf),
      operandOf(gradient),
    ]);
    for (const value of list) if (value instanceof StoredVariable) value.changed();
    const numbers = native.scalars.map((name) => scalars[name]!);
    program.take(program.record(native.operation, [{ numbers }, { list }], [])[0]!).dispose();
  },
};

/** A parameter's values, which must be of the native kernels or of tfjs. */
function operandOf(values: Values): Value {
  if (values instanceof tf.Tensor || values instanceof StoredVariable) return values;
  throw new Error('Expected the values of a model on the native kernels, or tensors, found values of other kernels.');
}

/**
 * Returns a function for `train({ computeNorm })`: the L2 norm of all gradients. The native function sums in float64 and makes no
 * squared copy of a gradient. Without native operations it is the trainer's portable function.
 */
export const tensorflowGradientNorm = (): ((parameters: readonly Parameter[]) => Promise<number>) =>
  nativeOperations() ? nativeGradientNorm : gradientNorm;

export async function nativeGradientNorm(parameters: readonly Parameter[]): Promise<number> {
  const gradients = parameters.map((parameter) => parameter.gradient()).filter((gradient) => gradient !== null);
  if (gradients.length === 0) return 0;
  const sums = program.take(
    program.record('WpoSquareSums', [{ list: gradients.map(operandOf) }], [gradients.length])[0]!,
  );
  let total = 0;
  for (const sum of await sums.data()) total += sum;
  sums.dispose();
  return Math.sqrt(total);
}
