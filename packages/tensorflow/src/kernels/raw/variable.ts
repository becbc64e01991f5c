import type * as tf from '@tensorflow/tfjs-core';
import { effect, operate } from './operation';

/** TensorFlow's name for a variable that lives as long as something holds it (core/framework/resource_handle.h). */
const ANONYMOUS = 'cd2c89b7-88b7-44c8-ad83-06c2a9158347';

/**
 * A variable in the memory of `tensor`, which is freed. Operations on it write where it lies, unless something else still
 * holds that memory: then TensorFlow copies it first.
 */
export function variableOf(tensor: tf.Tensor): tf.Tensor {
  const variable = operate('VarHandleOp', [], {
    dtype: 'float32',
    shape: { shape: tensor.shape },
    shared_name: { text: ANONYMOUS },
  });
  effect('AssignVariableOp', [variable, tensor], { dtype: 'float32' });
  tensor.dispose();
  return variable;
}

/** What a variable holds, where it lies; frees the variable. */
export function tensorOf(variable: tf.Tensor): tf.Tensor {
  const tensor = operate('ReadVariableOp', [variable], { dtype: 'float32' });
  variable.dispose();
  return tensor;
}
