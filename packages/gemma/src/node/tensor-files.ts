// Files of any tensors, as the checkpoints of @wpo/trainer have them: weights, and the state of an optimizer.
import { printable } from '@wpo/internal/printable';
import { openSafetensors } from './read-checkpoint';
import { PART_VALUES } from './stored-tensor';
import { writeSafetensors } from './write-checkpoint';

/** A tensor that is read in parts, so that no copy of a large one is made. It has the form of @wpo/trainer's `SavedTensor`. */
export interface TensorInParts {
  readonly name: string;
  readonly shape: readonly number[];
  /** Its type in the file. U8 has codes of 8 bits. */
  readonly type: 'F32' | 'BF16' | 'U8';
  /** `count` values from `start`, row-major: bytes of a U8 tensor, else float32. */
  read(start: number, count: number): Promise<Float32Array | Uint8Array>;
}

/** Writes tensors to a safetensors file, each in its type. The file appears under `path` only when it is complete. */
export const writeTensors = (path: string, tensors: Iterable<TensorInParts>): Promise<void> =>
  writeSafetensors(
    path,
    Array.from(tensors, (tensor) => ({
      ...{ name: tensor.name, shape: tensor.shape, dtype: tensor.type },
      data: () => partsOf(tensor),
    })),
  );

async function* partsOf(tensor: TensorInParts): AsyncGenerator<Float32Array | Uint8Array> {
  const size = tensor.shape.reduce((product, length) => product * length, 1);
  for (let start = 0; start < size; start += PART_VALUES) {
    yield await tensor.read(start, Math.min(PART_VALUES, size - start));
  }
}

/**
 * Opens the tensors of a file from `writeTensors`. Each can be read until the next one is requested.
 *
 * @throws Error for a tensor of another type
 */
export async function* readTensors(path: string): AsyncGenerator<TensorInParts> {
  const file = await openSafetensors(path);
  try {
    for (const name of file.names()) {
      const { shape, dtype: type } = file.info(name);
      if (type !== 'F32' && type !== 'BF16' && type !== 'U8') {
        throw new Error(`${path}: tensor "${printable(name)}": expected F32, BF16 or U8, found ${type}.`);
      }
      yield {
        ...{ name, shape, type },
        async read(start, count) {
          const range = { start, count };
          return type === 'U8' ? new Uint8Array(await file.readRaw(name, range)) : file.read(name, range);
        },
      };
    }
  } finally {
    await file.close();
  }
}
