import * as tf from '@tensorflow/tfjs-core';
import type { HostMemory } from './group';

/** The type of a tensor in a checkpoint, by its name in safetensors. */
export type SavedType = 'F32' | 'BF16' | 'U8';

/** Bytes of a value of each type. */
const BYTES: Readonly<Record<SavedType, number>> = { F32: 4, BF16: 2, U8: 1 };

/** Numbers: codes of 8 bits, or values in float32, also those of a type with fewer bits. */
export type Numbers = Float32Array | Uint8Array;

/** Values that a model's kernels keep outside of tfjs. */
export interface StoredValues {
  readonly shape: readonly number[];
  /** The type of a file that holds what `read` returns exactly. */
  readonly fileType: SavedType;
  /** A copy of `count` values from `start`, row-major. */
  read(start: number, count: number): Numbers;
  /** Replaces values from `start`. */
  write(start: number, values: Numbers): void;
  /** A handle on `count` of the values from `start`, of shape `[count]`. */
  part(start: number, count: number): StoredValues;
  /** Float32 values in memory of the CPU, to be read or replaced in place until the next operation; absent elsewhere. */
  hostMemory?(): HostMemory | undefined;
  /** Whether all values are finite, without reading them. It may be false for large finite ones. */
  areFinite(): boolean;
  dispose(): void;
}

/** A parameter's values, its gradient, or a part of an optimizer's state. Tensors are float32, and int32 for codes of 8 bits. */
export type Values = tf.Tensor | StoredValues;

/** A tensor as a checkpoint saves it. Its values are read in parts, so that no copy of a large tensor is made. */
export interface SavedTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly type: SavedType;
  /** `count` values from `start`, row-major. */
  read(start: number, count: number): Promise<Numbers>;
}

export const isStored = (values: Values): values is StoredValues => 'write' in values;
export const isTensor = (values: Values): values is tf.Tensor => !isStored(values);

/** Values of a part: 16 MB in float32. */
const PART = 1 << 22;

export const sizeOf = (shape: readonly number[]): number => shape.reduce((size, n) => size * n, 1);

/** Bytes of a tensor in a checkpoint. */
export const savedBytes = ({ shape, type }: Pick<SavedTensor, 'shape' | 'type'>): number => BYTES[type] * sizeOf(shape);

/** Start and count of each part of a tensor. */
export function* partsOf(shape: readonly number[]): Generator<readonly [start: number, count: number]> {
  const size = sizeOf(shape);
  for (let start = 0; start < size; start += PART) yield [start, Math.min(PART, size - start)];
}

/** The values of a tensor in consecutive parts of at most 16 MB. */
export async function* valuesInParts({ shape, read }: SavedTensor): AsyncGenerator<Numbers> {
  for (const [start, count] of partsOf(shape)) yield await read(start, count);
}

/** Values under a name, to be saved. */
export const savedTensor = (name: string, values: Values): SavedTensor => ({
  name,
  shape: values.shape,
  type: typeOf(values),
  async read(start, count) {
    if (!isTensor(values)) return values.read(start, count);
    const part = tf.tidy(() => tf.slice(tf.reshape(values, [values.size]), start, count));
    try {
      return numbersOf(await part.data(), typeOf(values));
    } finally {
      part.dispose();
    }
  },
});

const typeOf = (values: Values): SavedType => {
  if (!isTensor(values)) return values.fileType;
  return values.dtype === 'int32' ? 'U8' : 'F32';
};

const numbersOf = (data: ArrayLike<number>, type: SavedType): Numbers =>
  type === 'U8' ? Uint8Array.from(data) : (data as Float32Array);

/** Numbers as a tensor: int32 for codes of 8 bits. */
const tensorOf = (values: Numbers, shape: readonly number[]): tf.Tensor =>
  values instanceof Uint8Array
    ? tf.tensor(Int32Array.from(values), [...shape], 'int32')
    : tf.tensor(values, [...shape], 'float32');

/** Zeros as a tensor. */
export const zerosOf = (shape: readonly number[], type: SavedType): tf.Tensor =>
  tf.zeros([...shape], type === 'U8' ? 'int32' : 'float32');

/** Values as a tensor, which is a copy if they are outside of tfjs. `dispose` frees the copy. */
export function asTensor(values: Values): { readonly tensor: tf.Tensor; dispose(): void } {
  if (isTensor(values)) return { tensor: values, dispose() {} };
  const tensor = tensorOf(values.read(0, sizeOf(values.shape)), values.shape);
  return { tensor, dispose: () => tensor.dispose() };
}

/** Replaces values by those of a tensor. */
export const writeTensor = (to: StoredValues, from: tf.Tensor): void =>
  to.write(0, numbersOf(from.dataSync(), to.fileType));

/** Replaces values by saved ones of the same shape, in parts. */
export async function loadStored(to: StoredValues, saved: SavedTensor): Promise<void> {
  for (const [start, count] of partsOf(saved.shape)) to.write(start, await saved.read(start, count));
}

/** A saved tensor as a tfjs tensor, owned by the caller. */
export const readSaved = async ({ shape, read }: SavedTensor): Promise<tf.Tensor> =>
  tensorOf(await read(0, sizeOf(shape)), shape);
