import type { Checkpoint } from './read-checkpoint';
import type { TensorValues } from './write-checkpoint';

/** Most values of a tensor that are in memory at once: 4 MB in float32. The embedding of a 9B model has 3.7 GB. */
export const PART_VALUES = 2 ** 20;

/** A checkpoint's tensor, to be written to another one. It is read in parts of 4 MB, and bits of bfloat16 are copied. */
export function storedTensor(checkpoint: Checkpoint, name: string): TensorValues {
  const { dtype, shape } = checkpoint.info(name);
  const size = shape.reduce((product, length) => product * length, 1);
  return {
    name,
    shape,
    async *data() {
      for (let start = 0; start < size; start += PART_VALUES) {
        const range = { start, count: Math.min(PART_VALUES, size - start) };
        if (dtype === 'BF16') yield new Uint16Array(await checkpoint.readRaw(name, range));
        else yield await checkpoint.read(name, range);
      }
    },
  };
}
