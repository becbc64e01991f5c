import * as tf from '@tensorflow/tfjs-core';
import type { Kernels, ParameterStorage, StoredValue, Value, Weight, WeightValue } from './ops/contract';
import { portableKernels } from './ops/portable';

/** A parameter's values or gradient: a tensor, or values in the kernels' storage. */
export type ParameterValue = tf.Tensor | StoredValue;

/** A trainable float32 tensor and the sum of its gradients. */
export interface Parameter extends Weight {
  readonly trainable: true;
  /** Whether weight decay applies: true for all weights but norms. */
  readonly decay: boolean;
  /** The current value, owned by the parameter. */
  value(): ParameterValue;
  /** Replaces the value. Takes ownership. */
  assign(value: tf.Tensor): void;
  /** The sum of the gradients since `zeroGradient`, owned by the parameter; null if there were none. */
  gradient(): ParameterValue | null;
  /** Replaces the gradient. Takes ownership. */
  assignGradient(gradient: tf.Tensor): void;
  zeroGradient(): void;
  /** The next call of `value` or `assign` first runs `update`, which changes the value. Of parameters in the kernels' storage. */
  updateLater?(update: () => void): void;
  dispose(): void;
}

/** A weight without a gradient, of a model that only runs, or of the base model under an adapter. */
export interface FrozenWeight extends Weight {
  readonly trainable: false;
  value(): WeightValue;
  dispose(): void;
}

/** Makes a weight without a gradient; takes ownership of `value`. */
export function frozenWeight(name: string, value: WeightValue): FrozenWeight {
  keep(value);
  return {
    name,
    shape: value.shape,
    trainable: false,
    value: () => value,
    accumulate() {},
    dispose: () => value.dispose(),
  };
}

export interface ParameterOptions {
  /** Default true. */
  readonly decay?: boolean;
  /** The kernels that the model runs on. Default `portableKernels`. */
  readonly kernels?: Pick<Kernels, 'materialize' | 'storage'>;
}

/**
 * Makes a parameter with the value `initial`; takes ownership.
 *
 * @param name the checkpoint's name of the tensor, e.g. `model.layers.0.mlp.up_proj.weight`
 * @param initial a tensor, or a value in the storage of the kernels
 */
export function parameter(name: string, initial: ParameterValue, options: ParameterOptions = {}): Parameter {
  const { decay = true, kernels = portableKernels } = options;
  const of = { name, shape: initial.shape, decay };
  if (kernels.storage) return storedParameter(of, initial, kernels.storage);
  if (initial instanceof tf.Tensor) return tensorParameter(of, initial, kernels);
  throw new Error(`${name}: value: expected a tensor, found a value of other kernels. ${GIVE_KERNELS}`);
}

const GIVE_KERNELS = "Pass the model's kernels to loadWeights or parameter.";

type Named = Pick<Parameter, 'name' | 'shape' | 'decay'>;

function checkValueShape({ name, shape }: Named, what: string, found: readonly number[]): void {
  if (found.length === shape.length && found.every((n, i) => n === shape[i])) return;
  throw new Error(`${name}: ${what}: expected the shape [${shape}], found [${found}].`);
}

/** A parameter in the storage of kernels. */
function storedParameter(of: Named, initial: ParameterValue, storage: ParameterStorage): Parameter {
  const value = initial instanceof tf.Tensor ? storage.value(initial) : initial;
  let sum: StoredValue | null = null;
  let update: (() => void) | null = null;
  const current = () => {
    const due = update;
    update = null;
    due?.();
    return value;
  };
  const write = (to: StoredValue, from: tf.Tensor, what: string) => {
    checkValueShape(of, what, from.shape);
    to.write(0, from.dataSync() as Float32Array);
    from.dispose();
  };
  const zeroGradient = () => {
    sum?.dispose();
    sum = null;
  };
  return {
    ...of,
    trainable: true,
    value: current,
    assign: (next) => write(current(), next, 'value'),
    updateLater(given) {
      update = given;
    },
    gradient: () => sum,
    accumulate(addTo) {
      sum ??= storage.gradient(of.shape);
      if (addTo(sum) !== sum)
        throw new Error(`${of.name}: gradient: expected the sum that was given, found another value.`);
    },
    assignGradient(gradient) {
      sum ??= storage.gradient(of.shape);
      write(sum, gradient, 'gradient');
    },
    zeroGradient,
    dispose() {
      zeroGradient();
      value.dispose();
    },
  };
}

/** A parameter whose value and gradient are tensors. */
function tensorParameter(of: Named, initial: tf.Tensor, kernels: Pick<Kernels, 'materialize'>): Parameter {
  let current = tf.keep(initial);
  let sum: Value | null = null;
  const materialize = (value: Value) => kernels.materialize?.(value) ?? (value as tf.Tensor);
  const checked = <T extends Value>(value: T, what: string): T => {
    if (!kernels.materialize && !(value instanceof tf.Tensor)) {
      throw new Error(`${of.name}: ${what}: expected a tensor, found a lazy value of other kernels. ${GIVE_KERNELS}`);
    }
    checkValueShape(of, what, value.shape);
    return keep(value);
  };
  const zeroGradient = () => {
    sum?.dispose();
    sum = null;
  };
  return {
    ...of,
    trainable: true,
    value: () => current,
    assign(value) {
      const next = checked(value, 'value');
      current.dispose();
      current = next;
    },
    gradient: () => sum && materialize(sum),
    accumulate(addTo) {
      sum = checked(addTo(sum), 'gradient');
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

/** Keeps a tensor beyond the `tf.tidy` in which it was made. */
const keep = <T extends Value>(value: T): T => (value instanceof tf.Tensor ? tf.keep(value) : value);
