import * as tf from '@tensorflow/tfjs-core';
import { portableKernels } from '@wpo/gemma';
import { effect, operate } from './operation';
import { tensorOf, variableOf } from './variable';

/** Values from which on adding in place is faster than making a sum: 4 MB. */
const LARGE = 1 << 20;

/** a + b, in a's place where they are large; takes ownership of both. */
export function sum(a: tf.Tensor, b: tf.Tensor): tf.Tensor {
  if (a.size < LARGE) return portableKernels.add(a, b) as tf.Tensor;
  const total = variableOf(a);
  effect('AssignAddVariableOp', [total, b], { dtype: 'float32' });
  b.dispose();
  return tensorOf(total);
}

/**
 * `total` `[V, H]`, zeros where null, with `rows` `[n, H]` added at `indices`, in its place; takes ownership of it. On GPUs
 * TensorFlow adds all rows at once, so those of one index are summed before.
 */
export function addRows(total: tf.Tensor | null, indices: Int32Array, rows: tf.Tensor2D, count: number): tf.Tensor {
  if (!total) return portableKernels.addRows(null, indices, rows, count) as tf.Tensor;
  const { distinct, group } = grouped(indices, count);
  const next = tf.tidy(() => {
    const apart = distinct.length === indices.length;
    const sums = apart ? rows : tf.unsortedSegmentSum(rows, tf.tensor1d(group, 'int32'), distinct.length);
    return operate('InplaceAdd', [total, tf.tensor1d(distinct, 'int32'), sums]); // another handle on total's memory
  });
  total.dispose();
  return next;
}

/** The distinct indices in order of appearance, and which of them each index is. */
function grouped(indices: Int32Array, count: number) {
  const places = new Map<number, number>();
  const group = indices.map((index) => {
    if (!(index >= 0 && index < count)) throw new RangeError(`wanted an index below ${count}, found ${index}`);
    const place = places.get(index) ?? places.size;
    places.set(index, place);
    return place;
  });
  return { distinct: Int32Array.from(places.keys()), group };
}
