import * as tf from '@tensorflow/tfjs-core';
import { printable } from '@wpo/internal/printable';
import { ModelError } from './errors';
import type { StoredValue, WeightValue } from './ops/contract';

/** Index of the first NaN or infinity; −1 if all numbers are finite. */
export function firstNotFinite(values: Float32Array): number {
  let zero = 0;
  for (const value of values) zero += value * 0; // without a branch: this runs for every token
  return zero === 0 ? -1 : values.findIndex((value) => !Number.isFinite(value));
}

/**
 * Checks a weight. The sum of a tensor's values is computed where the tensor is; only if that is not finite, the values are read.
 *
 * @throws ModelError that names the tensor
 */
export async function checkWeight(name: string, weight: WeightValue, where: string): Promise<void> {
  const problem = await findNotFinite(weight);
  if (problem === undefined) return;
  throw new ModelError(
    `${where}: tensor "${printable(name)}": expected finite numbers, found ${problem}. The file is damaged, or it was saved by a ` +
      'training that diverged: download it again, or use an earlier checkpoint.',
  );
}

/** Values that are read at a time: 64 MB. */
const PIECE = 1 << 24;

/** The first value that is not finite, in words; undefined if there is none. */
export async function findNotFinite(weight: WeightValue): Promise<string | undefined> {
  if (isStored(weight) && weight.areFinite()) return undefined;
  if (weight.read) {
    const size = tf.util.sizeFromShape([...weight.shape]);
    for (let start = 0; start < size; start += PIECE) {
      const found = describeNotFinite(weight.read(start, Math.min(PIECE, size - start)), start);
      if (found !== undefined) return found;
    }
    return undefined;
  }
  if (weight instanceof tf.Tensor) {
    const sum = tf.sum(weight);
    const [total] = await sum.data();
    sum.dispose();
    if (Number.isFinite(total)) return undefined;
  }
  return describeNotFinite((await weight.data()) as Float32Array, 0); // none, if the sum of finite numbers overflowed
}

const isStored = (weight: WeightValue): weight is StoredValue => 'areFinite' in weight;

function describeNotFinite(values: Float32Array, start: number): string | undefined {
  const index = firstNotFinite(values);
  return index < 0 ? undefined : `${values[index]} at index ${start + index}`;
}
