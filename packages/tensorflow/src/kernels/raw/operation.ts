import * as tf from '@tensorflow/tfjs-core';

/** What tfjs-node's backend offers beyond tfjs: any TensorFlow operation, by name and attributes. */
interface NodeBackend {
  readonly binding: Readonly<Record<string, number>>;
  executeMultipleOutputs(
    name: string,
    attributes: readonly { readonly name: string; readonly type: number; readonly value: unknown }[],
    inputs: readonly tf.Tensor[],
    outputs: number,
  ): tf.Tensor[];
}

/** An operation's attributes: types of elements by name, anything else by value. */
export type Attributes = Readonly<
  Record<string, 'float32' | 'int32' | boolean | { text: string } | { shape: number[] }>
>;

/** Whether TensorFlow's own operations can be called by name: on tfjs-node's backend, on a processor or a GPU. */
export const rawOperations = (): boolean => tf.getBackend() === 'tensorflow';

/** Runs an operation with one result, in float32 unless `attributes` say otherwise. */
export function operate(name: string, inputs: tf.Tensor[], attributes: Attributes = { T: 'float32' }): tf.Tensor {
  return execute(name, inputs, attributes, 1)[0]!;
}

/** Runs an operation for its effect alone. */
export function effect(name: string, inputs: tf.Tensor[], attributes: Attributes): void {
  execute(name, inputs, attributes, 0);
}

function execute(name: string, inputs: tf.Tensor[], attributes: Attributes, outputs: number): tf.Tensor[] {
  const backend = tf.backend() as unknown as NodeBackend;
  const given = Object.entries(attributes).map(([key, value]) => ({ name: key, ...encode(value, backend.binding) }));
  return backend.executeMultipleOutputs(name, given, inputs, outputs);
}

function encode(value: Attributes[string], binding: NodeBackend['binding']) {
  if (value === 'float32') return { type: binding.TF_ATTR_TYPE!, value: binding.TF_FLOAT };
  if (value === 'int32') return { type: binding.TF_ATTR_TYPE!, value: binding.TF_INT32 };
  if (typeof value === 'boolean') return { type: binding.TF_ATTR_BOOL!, value };
  if ('text' in value) return { type: binding.TF_ATTR_STRING!, value: value.text };
  return { type: binding.TF_ATTR_SHAPE!, value: value.shape };
}
