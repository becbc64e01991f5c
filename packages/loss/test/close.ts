import { expect } from 'vitest';

/** Holds numbers to others within `bound` of each, or of 1 where that is more. */
export function close(found: readonly number[], wanted: readonly number[], bound = 2e-5): void {
  expect(found).toHaveLength(wanted.length);
  for (const [i, x] of found.entries()) {
    if (!(Math.abs(x - wanted[i]!) <= bound * Math.max(1, Math.abs(wanted[i]!)))) {
      throw new Error(`[${i}] is ${x}, but ${wanted[i]} was wanted`);
    }
  }
}
