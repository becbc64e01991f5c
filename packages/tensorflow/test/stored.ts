import * as tf from '@tensorflow/tfjs-core';
import { float32Bits, nativeStore, operationNumber, runProgram, type StoredName } from '../src/kernels/native';
import type { OutputShape } from '../src/kernels/program';
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

const RUN_BF16 = 6;

/**
 * Runs an operation in a program.
 *
 * @param narrow the inputs that are stored as bfloat16, at an address that is no multiple of four
 * @param shapes of the outputs, with their types
 * @returns the outputs, in float32
 */
export function runStored(
  name: string,
  inputs: readonly tf.Tensor[],
  narrow: readonly number[],
  ...shapes: readonly OutputShape[]
): tf.Tensor[] {
  return runIn('float32', name, inputs, narrow, ...shapes);
}

/** The same with a precision of products. */
export function runIn(
  precision: 'float32' | 'bfloat16',
  name: string,
  inputs: readonly tf.Tensor[],
  narrow: readonly number[],
  ...shapes: readonly OutputShape[]
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
    code.push(precision === 'bfloat16' ? RUN_BF16 : 2, operationNumber(name), ...inputs.keys());
    for (const shape of shapes) {
      if ('bfloat16' in shape) code.push(-2, shape.bfloat16.length, ...shape.bfloat16);
      else code.push(shape.length, ...shape);
    }
    let values = inputs.length + shapes.length;
    for (const [i, shape] of shapes.entries()) {
      if (!('bfloat16' in shape)) {
        code.push(...give(inputs.length + i));
        continue;
      }
      const rows = shape.bfloat16.slice(0, -1).reduce((product, n) => product * n, 1);
      const widen = [1, 1, rows, ...Array(rows).keys(), 1, 1, 1, ...float32Bits([1])];
      code.push(...widen, ...call('WpoScaledRows', inputs.length + i, values, values + 1));
      code.push(shape.bfloat16.length, ...shape.bfloat16, ...give(values + 2));
      values += 3;
    }
    // a program needs at least one tensor of each list
    return runProgram(code, tensors.length > 0 ? tensors : [tf.scalar(0)], shapes.length);
  });
}
