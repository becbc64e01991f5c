import * as tf from '@tensorflow/tfjs-core';
import { composed, type Kernels, type Weight } from './ops/kernels';

/** A trainable tensor in float32, held as a tfjs tensor, with the sum of its gradients. */
export interface Parameter extends Weight {
  /** Whether weight decay applies: all but norms. */
  readonly decay: boolean;
  value(): tf.Tensor;
  accumulate(gradient: tf.Tensor): void;
  accumulateRows(indices: Int32Array, rows: tf.Tensor): void;
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
  readonly kernels?: Pick<Kernels, 'sum' | 'addRows'>;
}

/** Holds `initial` (ownership passes) under the checkpoint's `name`. */
export function parameter(name: string, initial: tf.Tensor, options: ParameterOptions = {}): Parameter {
  const { decay = true, kernels = composed } = options;
  const shape = initial.shape;
  let current = tf.keep(initial);
  let sum: tf.Tensor | null = null;
  const checked = (tensor: tf.Tensor, what: string) => {
    if (tensor.shape.length === shape.length && tensor.shape.every((n, i) => n === shape[i])) return tf.keep(tensor);
    throw new Error(`${name}: a ${what} of shape [${tensor.shape}] cannot go where [${shape}] is held`);
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
    gradient: () => sum,
    accumulate(gradient) {
      const next = checked(gradient, 'gradient');
      sum = sum ? tf.keep(kernels.sum(sum, next) as tf.Tensor) : next;
    },
    accumulateRows(indices, rows) {
      sum = tf.keep(kernels.addRows(sum, indices, rows, shape[0]!) as tf.Tensor);
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
