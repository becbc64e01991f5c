import * as tf from '@tensorflow/tfjs-core';
import type { Value } from '@wpo/gemma';
import {
  dynamicMap,
  gradientNorm,
  type OptimizerKernel,
  type Parameter,
  portableOptimizer,
  type Update,
  type Values,
} from '@wpo/trainer';
import { hasOperation, nativeOperations } from './native';
import { program } from './program';
import { SplitVariable, StoredVariable } from './store';

/**
 * Returns native updates for the optimizers of `@wpo/trainer`, e.g. `adamW({ kernel })`. Without native operations it returns undefined,
 * and optimizers run their portable updates.
 */
export const tensorflowOptimizer = (): OptimizerKernel | undefined =>
  nativeOperations() ? nativeOptimizer : undefined;

/** How native operations run a rule. */
interface NativeRule {
  /** The names of its scalars, in the order of the operation's parameters. */
  readonly scalars: readonly string[];
  /** Parameters after the scalars. */
  readonly constants?: readonly number[];
  /** The operation for a parameter with this state. */
  operation(state: Update['state']): string;
}

const ADAMW = [
  'gradientScale',
  'oneMinusBeta1',
  'beta2',
  'oneMinusBeta2',
  'epsilon',
  'stepSize',
  'biasCorrection2Sqrt',
  'decayFactor',
];

/** By the names of rules. */
const NATIVE: Readonly<Record<string, NativeRule>> = {
  AdamW: { scalars: ADAMW, operation: () => 'WpoAdamW' },
  AdamW8bit: {
    scalars: ADAMW,
    constants: [...dynamicMap('signed'), ...dynamicMap('unsigned')],
    operation: (state) => ('exp_avg_sq' in state ? 'WpoAdamWMean8bit' : 'WpoAdamW8bit'),
  },
  Lion: {
    scalars: ['gradientScale', 'beta1', 'oneMinusBeta1', 'beta2', 'oneMinusBeta2', 'learningRate', 'decayFactor'],
    operation: () => 'WpoLion',
  },
  SGD: { scalars: ['gradientScale', 'learningRate', 'weightDecay'], operation: () => 'WpoSgd' },
  Adafactor: {
    scalars: ['gradientScale', 'beta2', 'oneMinusBeta2', 'learningRate', 'decayFactor'],
    operation: (state) => ('exp_avg_sq' in state ? 'WpoAdafactorVector' : 'WpoAdafactor'),
  },
};

/** Updates parameters and their states in place. A rule without native operations runs its portable update. */
export const nativeOptimizer: OptimizerKernel = {
  zeros: (shape, type) => StoredVariable.zeros(shape, type === 'U8' ? 'uint8' : 'float32', program),
  update(rule, updates, scalars) {
    // parameters whose 8-bit state is that of AdamW
    const ruleOf = ({ state }: Update) => (rule.name === 'AdamW8bit' && 'exp_avg' in state ? 'AdamW' : rule.name);
    const calls = new Map<string, NativeCall>();
    for (const update of updates) {
      const { parameter, gradient, state } = update;
      const native = NATIVE[ruleOf(update)];
      const operation = native?.operation(state);
      if (!native || !operation || !hasOperation(operation)) {
        portableOptimizer.update(rule, [update], scalars);
        continue;
      }
      const value = operandOf(parameter.value());
      const low = value instanceof SplitVariable ? [value.low] : [];
      const isRounded = value instanceof StoredVariable && value.dtype === 'bfloat16' && low.length === 0;
      const key = `${operation} ${low.length} ${isRounded}`; // the values of one call are held in one way
      const call = calls.get(key) ?? { operation, native, list: [], keys: [] };
      call.list.push(value, ...low, ...Object.values(state).map(operandOf), operandOf(gradient));
      if (isRounded) call.keys.push(update.roundingKey | 0);
      calls.set(key, call);
    }
    for (const { operation, native, list, keys } of calls.values()) {
      for (const value of list) if (value instanceof StoredVariable) value.changed();
      const numbers = [...native.scalars.map((name) => scalars[name]!), ...(native.constants ?? [])];
      program.take(program.record(operation, [{ numbers }, { ints: keys }, { list }], [])[0]!).dispose();
    }
  },
};

/** A call of an optimizer's operation (native/elementwise/updates.h). */
interface NativeCall {
  readonly operation: string;
  readonly native: NativeRule;
  /** The tensors of its parameters. */
  readonly list: Value[];
  /** For stochastic rounding. */
  readonly keys: number[];
}

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
  return normOf(await squareSums(gradients));
}

/** Σ x² of each gradient. */
export async function squareSums(gradients: readonly Values[]): Promise<readonly number[]> {
  if (gradients.length === 0) return [];
  const sums = program.squareSums(gradients.map(operandOf));
  const values = await sums.data();
  sums.dispose();
  return [...values];
}

/** The L2 norm of gradients, given Σ x² of each. */
export const normOf = (squareSums: readonly number[]): number =>
  Math.sqrt(squareSums.reduce((total, sum) => total + sum, 0));
