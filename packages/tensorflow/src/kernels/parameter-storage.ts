import type * as tf from '@tensorflow/tfjs-core';
import type { ParameterStorage } from '@wpo/gemma';
import { program } from './program';
import { StoredVariable } from './store';

/** Parameters and the sums of their gradients in the native store: operations read them and write into them without a copy. */
export const parameterStorage: ParameterStorage = {
  value(initial: tf.Tensor) {
    const value = StoredVariable.zeros(initial.shape, 'float32', program);
    value.write(0, initial.dataSync() as Float32Array);
    initial.dispose();
    return value;
  },
  gradient: (shape) => StoredVariable.sum(shape, program),
};
