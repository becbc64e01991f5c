import * as tf from '@tensorflow/tfjs-core';
import { readTensor, type TensorLoader } from '@wpo/gemma';
import { describe } from '@wpo/internal/describe';
import { printable } from '@wpo/internal/printable';
import { hasOperation, run } from './native';

/** Bytes per value of the types that the native operation reads. */
const BYTES: Readonly<Record<string, number>> = { F32: 4, BF16: 2 };

/** The operation's parameters are 32-bit integers. */
const MAX_SIZE = 2 ** 31 - 1;

/**
 * Returns a loader for `loadWeights({ loadTensor })`: all threads read a tensor from its file directly into TensorFlow's memory.
 * Without native operations, on a GPU and for types other than F32 and BF16 it uses `readTensor`, which passes the values through
 * JavaScript.
 */
export const tensorflowTensorLoader = (): TensorLoader => (hasOperation('WpoRead') ? readFromFile : readTensor);

const readFromFile: TensorLoader = async (source, name) => {
  const location = source.locate?.(name);
  const bytes = location && BYTES[location.dtype];
  if (!location || bytes === undefined) return readTensor(source, name);
  const { file, path, offset, shape } = location;
  if (shape.some((size) => size > MAX_SIZE)) {
    throw new RangeError(
      `${path}: tensor "${printable(name)}": expected sizes of at most ${MAX_SIZE}, found ${describe(shape)}.`,
    );
  }
  const params = tf.tensor1d([file, Math.floor(offset / 2 ** 30), offset % 2 ** 30, bytes, ...shape], 'int32');
  try {
    return run('WpoRead', [params], 1)[0]!;
  } catch (error) {
    throw new Error(
      `${path}: tensor "${name}" could not be read: ${(error as Error).message}. ` +
        'The file was complete when it was opened: is another process rewriting it?',
      { cause: error },
    );
  } finally {
    params.dispose();
  }
};
