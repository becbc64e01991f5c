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

/** Adds what `compute` returns to a weight's gradient. For a frozen weight, `compute` is not called. */
export const addGradient = (w: Weight, compute: () => Value): void =>
  w.accumulate((sum) => (sum ? add(sum, compute()) : compute()));
