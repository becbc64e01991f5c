import * as tf from '@tensorflow/tfjs-core';
import { readTensor, type TensorLoader } from '@wpo/gemma';
import { hasOperation, run } from './native';

/** Bytes a value of the types that go straight to where they stay. */
const BYTES: Readonly<Record<string, number>> = { F32: 4, BF16: 2 };

/** For `loadWeights({ place })`: reads tensors by all threads to where they stay, without a copy in JavaScript. */
export const tensorflowTensorLoader = (): TensorLoader => (hasOperation('WpoRead') ? placeFromFile : readTensor);

const placeFromFile: TensorLoader = async (source, name) => {
  const found = source.locate?.(name);
  const bytes = found && BYTES[found.dtype];
  if (!found || bytes === undefined) return readTensor(source, name);
  const { file, path, offset, shape } = found;
  const how = tf.tensor1d([file, Math.floor(offset / 2 ** 30), offset % 2 ** 30, bytes, ...shape], 'int32');
  try {
    return run('WpoRead', [how], 1)[0]!;
  } catch (error) {
    throw new Error(
      `${path}: tensor "${name}" could not be read: ${(error as Error).message}. ` +
        'The file was whole when opened: is something rewriting it?',
      { cause: error },
    );
  } finally {
    how.dispose();
  }
};
