import * as tf from '@tensorflow/tfjs-core';
import type { TensorLoader } from '@wpo/gemma';
import { program } from '../src/kernels/program';
import { SplitVariable, StoredVariable } from '../src/kernels/store';

/** Loads matrices as trained bfloat16 weights, with exact low bits or for stochastic rounding, and vectors as float32. */
export const storedLoader =
  (held: 'exact' | 'stochastic'): TensorLoader =>
  async (source, name) => {
    const { shape } = source.info(name);
    const values = (await source.read(name)) as Float32Array;
    if (shape.length === 1) return tf.tensor(values, [...shape]);
    const stored =
      held === 'exact' ? SplitVariable.splitZeros(shape, program) : StoredVariable.zeros(shape, 'bfloat16', program);
    stored.write(0, values);
    return stored;
  };
