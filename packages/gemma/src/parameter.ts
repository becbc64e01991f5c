import * as tf from '@tensorflow/tfjs-core';
import type { Kernels, Value, Weight } from './ops/contract';
import { portableKernels } from './ops/portable';

/** A trainable tensor in float32, held as a tfjs tensor, with the sum of its gradients. */
export interface Parameter extends Weight {
  /** Whether weight decay applies: all but norms. */
  readonly decay: boolean;
  value(): tf.Tensor;
  /** Replaces the value; takes ownership. */
  assign(value: tf.Tensor): void;
  /** Sum of the gradients since `zeroGradient`, owned by the parameter; null where there was none. */
  gradient(): tf.Tensor | null;
  /** Replaces the gradient; takes ownership. */
  assignGradient(gradient: tf.Tensor): void;
  zeroGradient(): void;
  dispose(): void;
}

export interface ParameterOptions {
  /** Default true. */
  readonly decay?: boolean;
  /** How gradients add up; default composed from tfjs. */
  readonly kernels?: Pick<Kernels, 'add' | 'addRows' | 'materialize'>;
}

/** Holds `initial` (ownership passes) under the checkpoint's `name`. */
export function parameter(name: string, initial: tf.Tensor, options: ParameterOptions = {}): Parameter {
  const { decay = true, kernels = portableKernels } = options;
  const shape = initial.shape;
  let current = tf.keep(initial);
  let sum: Value | null = null;
  const materialize = (value: Value) => kernels.materialize?.(value) ?? (value as tf.Tensor);
  const checked = <T extends Value>(value: T, what: string): T => {
    if (!kernels.materialize && !(value instanceof tf.Tensor)) {
      throw new Error(
        `${name}: a ${what} is no tensor yet, as from kernels that put work off; give loadWeights, or parameter, the same kernels`,
      );
    }
    if (value.shape.length === shape.length && value.shape.every((n, i) => n === shape[i])) return kept(value);
    throw new Error(`${name}: a ${what} of shape [${value.shape}] cannot go where [${shape}] is held`);
  };
  const zeroGradient = () => {
    sum?.dispose();
    sum = null;
  };
  return {
    name,
    shape,
    decay,
    value: () => current,
    assign(value) {
      const next = checked(value, 'value');
      current.dispose();
      current = next;
    },
    gradient: () => sum && materialize(sum),
    accumulate(gradient) {
      const next = checked(gradient, 'gradient');
      sum = sum ? kept(kernels.add(sum, next)) : next;
    },
    accumulateRows(indices, rows) {
      sum = kept(kernels.addRows(sum, indices, rows, shape[0]!));
    },
    assignGradient(gradient) {
      const next = checked(gradient, 'gradient');
      zeroGradient();
      sum = next;
    },
    zeroGradient,
    dispose() {
      zeroGradient();
      current.dispose();
    },
  };
}

/** A tensor is kept past the tidy that it was made in. */
const kept = <T extends Value>(value: T): T => (value instanceof tf.Tensor ? tf.keep(value) : value);
