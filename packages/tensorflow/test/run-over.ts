import * as tf from '@tensorflow/tfjs-core';

/** What these tests call of tfjs-node's backend. */
interface Backend {
  readonly binding: { readonly TF_ATTR_INT: number };
  executeMultipleOutputs(name: string, attributes: object[], inputs: tf.Tensor[], outputs: number): tf.Tensor[];
}

/** Runs an operation with one result whose last input is a list of tensors. The library runs these in programs only. */
export function runOver(name: string, inputs: readonly tf.Tensor[], tensors: readonly tf.Tensor[]): tf.Tensor {
  const backend = tf.backend() as unknown as Backend;
  const length = { name: 'N', type: backend.binding.TF_ATTR_INT, value: tensors.length };
  return backend.executeMultipleOutputs(name, [length], [...inputs, ...tensors], 1)[0]!;
}
