import * as tf from '@tensorflow/tfjs-core';
import { composed } from '@wpo/gemma';
import { operate } from './operation';

/** Tensors from 32 MB on lie in memory that is mapped afresh for each: to write into one that is there is faster. */
const LARGE = 1 << 23;

/** a + b, in a's place where they are large; takes ownership of both. */
export function sum(a: tf.Tensor, b: tf.Tensor): tf.Tensor {
  if (a.size < LARGE) return composed.sum(a, b) as tf.Tensor;
  const total = tf.tidy(() => {
    const asRow = (x: tf.Tensor) => tf.reshape(x, [1, x.size]);
    return tf.reshape(addInPlace(asRow(a), Int32Array.of(0), asRow(b)), a.shape);
  });
  tf.dispose([a, b]);
  return total;
}

/** `total` `[V, H]`, zeros where null, with `rows` `[n, H]` added at `indices`, in its place; takes ownership of it. */
export function addRows(total: tf.Tensor | null, indices: Int32Array, rows: tf.Tensor2D, count: number): tf.Tensor {
  if (!total) return composed.addRows(null, indices, rows, count) as tf.Tensor;
  const { distinct, group } = grouped(indices, count);
  const next = tf.tidy(() => {
    const sums = distinct.length === indices.length ? rows : tf.unsortedSegmentSum(rows, group, distinct.length);
    return addInPlace(total, distinct, sums);
  });
  total.dispose();
  return next;
}

/** Writes into `into` and returns another handle on it. On GPUs rows are added at once, so an index must not repeat. */
const addInPlace = (into: tf.Tensor, distinct: Int32Array, rows: tf.Tensor) =>
  operate('InplaceAdd', [into, tf.tensor1d(distinct, 'int32'), rows]);

/** The distinct indices in order of appearance, and which of them each index is. */
function grouped(indices: Int32Array, count: number) {
  const places = new Map<number, number>();
  const group = indices.map((index) => {
    if (!(index >= 0 && index < count)) throw new RangeError(`wanted an index below ${count}, found ${index}`);
    const place = places.get(index) ?? places.size;
    places.set(index, place);
    return place;
  });
  return { distinct: Int32Array.from(places.keys()), group: tf.tensor1d(group, 'int32') };
}
