import * as tf from '@tensorflow/tfjs-core';
import type { Result, Weight } from './kernels';

/** Rows of x `[V, H]` at `indices` `[n]`, times `factor`: `[n, H]`. */
export type PickRows = (x: tf.Tensor2D, indices: Int32Array, factor: number) => tf.Tensor2D;

export const pickRows: PickRows = (x, indices, factor) =>
  tf.tidy(() => {
    const picked = tf.gather(x, tf.tensor1d(indices, 'int32'));
    return factor === 1 ? picked : tf.mul(picked, factor);
  });

/** Rows of a value; a row's gradient is the sum over where it went. */
export const rows = (x: tf.Tensor2D, indices: Int32Array): Result => ({
  value: pickRows(x, indices, 1),
  reads: [],
  saved: [],
  backward: (dy: tf.Tensor2D) => [addRows(null, indices, dy, x.shape[0])],
});

/** Rows of a table, times `scale`. */
export function embed(table: Weight, ids: Int32Array, scale: number): Result {
  const factor = Math.fround(scale);
  return {
    value: pickRows(table.value() as tf.Tensor2D, ids, factor),
    reads: [],
    saved: [],
    backward(dy: tf.Tensor2D) {
      const rows = tf.mul(dy, factor);
      table.accumulateRows(ids, rows);
      rows.dispose();
      return [];
    },
  };
}

/** a + b; takes ownership of both. */
export function sum(a: tf.Tensor, b: tf.Tensor): tf.Tensor {
  const total = tf.add(a, b);
  tf.dispose([a, b]);
  return total;
}

/** `total` `[V, H]` (zeros where null, freed here) with `rows` added at `indices`. */
export function addRows(total: tf.Tensor | null, indices: Int32Array, rows: tf.Tensor, count: number): tf.Tensor {
  const spread = tf.tidy(() => tf.unsortedSegmentSum(rows, tf.tensor1d(indices, 'int32'), count));
  return total ? sum(total, spread) : spread;
}

/** `total` `[K, D, count]` (zeros where null, freed here) with `values` at `columns`, ascending and distinct. */
export function setColumns(
  total: tf.Tensor3D | null,
  columns: Int32Array,
  values: tf.Tensor3D,
  count: number,
): tf.Tensor3D {
  const [heads, width] = values.shape;
  const next = tf.tidy(() => {
    const old = total ?? tf.zeros<tf.Rank.R3>([heads, width, count]);
    const part = (x: tf.Tensor3D, start: number, end: number) =>
      tf.slice(x, [0, 0, start], [heads, width, end - start]);
    const parts: tf.Tensor3D[] = [];
    let at = 0; // columns up to here are in `parts`
    for (let i = 0; i < columns.length; ) {
      let end = i + 1;
      while (end < columns.length && columns[end] === columns[end - 1]! + 1) end++; // a run that follows on
      const start = columns[i]!;
      if (start > at) parts.push(part(old, at, start));
      parts.push(part(values, i, end));
      at = start + end - i;
      i = end;
    }
    if (at < count) parts.push(part(old, at, count));
    return tf.concat(parts, 2);
  });
  total?.dispose();
  return next;
}
