import type { Value, Weight } from '@wpo/gemma';
import { copied, type OutputShape, program } from './program';
import { StoredVariable } from './store';

/** A sum of gradients that has no values yet: what is added to it becomes its values, and is written into its memory. */
const isUnset = (sum: Value): sum is StoredVariable => sum instanceof StoredVariable && sum.version === 0;

/** a + b, written into a if it is float32. Takes ownership of both. */
export function add(a: Value, b: Value): Value {
  const sum = inFloat32(a);
  if (isUnset(sum)) program.recordInto(sum, 'WpoScaledRows', copied(b));
  else program.recordInPlace('WpoAdd', [sum, b]);
  b.dispose();
  return sum;
}

/** A value in float32, which an operation can add to. Takes ownership. */
export function inFloat32(value: Value): Value {
  if (value.dtype !== 'bfloat16') return value;
  const wide = program.widen(value);
  value.dispose();
  return wide;
}

/** `total` `[V, H]` (null: zeros with `count` rows) with `rows` `[n, H]` added at `indices` `[n]`, which may repeat. */
export function addRows(total: Value | null, indices: Int32Array, rows: Value, count: number): Value {
  const spread = [{ ints: indices }, rows, { ints: [count] }];
  if (!total) return program.record('WpoSpreadRows', spread, [count, rows.shape[1]!])[0]!;
  if (isUnset(total)) program.recordInto(total, 'WpoSpreadRows', spread);
  else program.recordInPlace('WpoAddRows', [total, { ints: indices }, rows]);
  return total;
}

/** Which operands of a product are transposed: neither, or by letter (T transposed, N not). */
export type ProductForm = '' | 'NT' | 'TN' | 'TT';

/**
 * A matrix product. All dimensions except the last count as rows; the result gets `shape`. With `addTo`, which it takes ownership
 * of, the product is added to that value in place, and never becomes a tensor.
 */
export function product(a: Value, b: Value, form: ProductForm, shape: OutputShape, addTo: Value | null = null): Value {
  if (!addTo) return program.record(`WpoProduct${form}`, [a, b], shape)[0]!;
  if (isUnset(addTo)) program.recordInto(addTo, `WpoProduct${form}`, [a, b]);
  else program.recordInPlace(`WpoAddProduct${form}`, [addTo, a, b]);
  return addTo;
}

/** dyᵀ · geglu(gate, up), added to `addTo` in place if it is given. */
export function gatedGradient(dy: Value, gate: Value, up: Value, shape: readonly number[], addTo: Value | null): Value {
  if (!addTo) return program.record('WpoGatedProductGrad', [dy, gate, up], shape)[0]!;
  if (isUnset(addTo)) program.recordInto(addTo, 'WpoGatedProductGrad', [dy, gate, up]);
  else program.recordInPlace('WpoAddGatedProductGrad', [addTo, dy, gate, up]);
  return addTo;
}

/** Adds a product to a weight's gradient. It is not computed for a frozen weight. */
export const addProduct = (w: Weight, a: Value, b: Value, form: ProductForm): void =>
  w.accumulate((sum) => product(a, b, form, w.shape, sum));
