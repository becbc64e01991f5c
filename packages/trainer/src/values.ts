import * as tf from '@tensorflow/tfjs-core';

/** Float32 values that a model's kernels keep outside of tfjs. */
export interface StoredValues {
  readonly shape: readonly number[];
  /** A copy of `count` values from `start`, row-major. */
  read(start: number, count: number): Float32Array;
  /** Replaces values from `start`. */
  write(start: number, values: Float32Array): void;
  /** Whether all values are finite, without reading them. It may be false for large finite ones. */
  areFinite(): boolean;
  dispose(): void;
}

/** A parameter's values, its gradient, or a part of an optimizer's state. */
export type Values = tf.Tensor | StoredValues;

/** A tensor as a checkpoint saves it. Its values are read in parts, so that no copy of a large tensor is made. */
export interface SavedTensor {
  readonly name: string;
  readonly shape: readonly number[];
  /** `count` values from `start`, row-major. */
  read(start: number, count: number): Promise<Float32Array>;
}

export const isStored = (values: Values): values is StoredValues => 'write' in values;
export const isTensor = (values: Values): values is tf.Tensor => !isStored(values);

/** Values of a part: 16 MB. */
const PART = 1 << 22;

const sizeOf = (shape: readonly number[]) => shape.reduce((size, n) => size * n, 1);

/** Start and count of each part of a tensor. */
export function* partsOf(shape: readonly number[]): Generator<readonly [start: number, count: number]> {
  const size = sizeOf(shape);
  for (let start = 0; start < size; start += PART) yield [start, Math.min(PART, size - start)];
}

/** The values of a tensor in consecutive parts of at most 16 MB. */
export async function* valuesInParts({ shape, read }: SavedTensor): AsyncGenerator<Float32Array> {
  for (const [start, count] of partsOf(shape)) yield await read(start, count);
}

/** Values under a name, to be saved. */
export const savedTensor = (name: string, values: Values): SavedTensor => ({
  name,
  shape: values.shape,
  async read(start, count) {
    if (!isTensor(values)) return values.read(start, count);
    const part = tf.tidy(() => tf.slice(tf.reshape(values, [values.size]), start, count));
    try {
      return (await part.data()) as Float32Array;
    } finally {
      part.dispose();
    }
  },
});

/** Values as a tensor, which is a copy if they are outside of tfjs. `dispose` frees the copy. */
export function asTensor(values: Values): { readonly tensor: tf.Tensor; dispose(): void } {
  if (isTensor(values)) return { tensor: values, dispose() {} };
  const tensor = tf.tensor(values.read(0, sizeOf(values.shape)), [...values.shape], 'float32');
  return { tensor, dispose: () => tensor.dispose() };
}

/** Replaces values by saved ones of the same shape, in parts. */
export async function loadStored(to: StoredValues, saved: SavedTensor): Promise<void> {
  for (const [start, count] of partsOf(saved.shape)) to.write(start, await saved.read(start, count));
}

/** A saved tensor as a tfjs tensor, owned by the caller. */
export const readSaved = async ({ shape, read }: SavedTensor): Promise<tf.Tensor> =>
  tf.tensor(await read(0, sizeOf(shape)), [...shape], 'float32');
