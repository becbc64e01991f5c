import type { Value, Weight } from '@wpo/gemma';
import { program } from './program';

/** a + b, written into a. Takes ownership of both. */
export function add(a: Value, b: Value): Value {
  program.recordInPlace('WpoAdd', [a, b]);
  b.dispose();
  return a;
}

/** `total` `[V, H]` (null: zeros with `count` rows) with `rows` `[n, H]` added at `indices` `[n]`, which may repeat. */
export function addRows(total: Value | null, indices: Int32Array, rows: Value, count: number): Value {
  if (!total) {
    const inputs = [{ ints: indices }, rows, { ints: [count] }];
    return program.record('WpoSpreadRows', inputs, [count, rows.shape[1]!])[0]!;
  }
  program.recordInPlace('WpoAddRows', [total, { ints: indices }, rows]);
  return total;
}

/** Which operands of a product are transposed: neither, or by letter (T transposed, N not). */
export type ProductForm = '' | 'NT' | 'TN' | 'TT';

/**
 * A matrix product. All dimensions except the last count as rows; the result gets `shape`. With `addTo`, which it takes ownership
 * of, the product is added to that value in place, and never becomes a tensor.
 */
export function product(
  a: Value,
  b: Value,
  form: ProductForm,
  shape: readonly number[],
  addTo: Value | null = null,
): Value {
  if (!addTo) return program.record(`WpoProduct${form}`, [a, b], shape)[0]!;
  program.recordInPlace(`WpoAddProduct${form}`, [addTo, a, b]);
  return addTo;
}

/** Adds a product to a weight's gradient. It is not computed for a frozen weight. */
export const addProduct = (w: Weight, a: Value, b: Value, form: ProductForm): void =>
  w.accumulate((sum) => product(a, b, form, w.shape, sum));
