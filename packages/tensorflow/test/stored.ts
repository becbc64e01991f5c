import * as tf from '@tensorflow/tfjs-core';
import { nativeStore, operationNumber, runProgram, type StoredName } from '../src/kernels/native';
import { loadKernels, type NativeStore } from './gpu/addons';

/** The CPU's store. */
export const { store } = loadKernels();
/** The store of the device on which the operations run. */
const deviceStore = () => (nativeStore() as NativeStore | undefined) ?? store;

/** The instruction of a program that makes a value of stored ones, `offset` values after an arena's start. */
export const stored = (id: number, offset: number, type: StoredName, ...shape: number[]) => [
  ...[5, id, offset % 2 ** 30, Math.floor(offset / 2 ** 30), TYPES.indexOf(type), shape.length, ...shape],
];
/** Their numbers in a program are their places here. */
const TYPES: readonly StoredName[] = ['F32', 'BF16', 'I16', 'U8'];
export const give = (number: number) => [4, number];
export const call = (name: string, ...numbers: number[]) => [2, operationNumber(name), ...numbers];

/** Calls `use` with a new arena of a number of bytes. */
export function withArena<T>(bytes: number, use: (id: number) => T): T {
  const id = deviceStore().allocate(bytes);
  try {
    return use(id);
  } finally {
    deviceStore().free(id);
  }
}

/** The nearest bfloat16 values, as float32. */
export function roundToBf16<T extends tf.Tensor>(x: T): T {
  const values = x.dataSync() as Float32Array;
  return withArena(2 * values.length, (id) => {
    deviceStore().set(id, 0, values, 'BF16');
    return tf.tensor(deviceStore().get(id, 0, values.length, 'BF16'), x.shape) as T;
  });
}

/**
 * Runs an operation in a program.
 *
 * @param narrow the inputs that are stored as bfloat16, at an address that is no multiple of four
 * @param shapes of the outputs
 * @returns the outputs
 */
export function runStored(
  name: string,
  inputs: readonly tf.Tensor[],
  narrow: readonly number[],
  ...shapes: readonly (readonly number[])[]
): tf.Tensor[] {
  const offsets = inputs.map((_, i) => inputs.slice(0, i).reduce((sum, { size }) => sum + size, 1));
  return withArena(2 * inputs.reduce((sum, { size }) => sum + size, 1), (id) => {
    const code: number[] = [];
    const tensors: tf.Tensor[] = [];
    for (const [i, input] of inputs.entries()) {
      if (input.dtype === 'int32') code.push(1, input.rank, ...input.shape, ...input.dataSync());
      else if (narrow.includes(i)) {
        deviceStore().set(id, 2 * offsets[i]!, input.dataSync() as Float32Array, 'BF16');
        code.push(...stored(id, offsets[i]!, 'BF16', ...input.shape));
      } else {
        code.push(0);
        tensors.push(input);
      }
    }
    code.push(...call(name, ...inputs.keys()));
    for (const shape of shapes) code.push(shape.length, ...shape);
    for (const i of shapes.keys()) code.push(...give(inputs.length + i));
    // a program needs at least one tensor of each list
    return runProgram(code, tensors.length > 0 ? tensors : [tf.scalar(0)], shapes.length);
  });
}
