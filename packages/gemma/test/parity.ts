import { expect } from 'vitest';

/** Checks each difference against its limit, and reports the largest of each kind. */
export function parity(variant: string) {
  const worst = new Map<string, { difference: number; limit: number }>();
  return {
    within(what: string, difference: number, limit: number, where = what): void {
      expect(Math.abs(difference), where).toBeLessThan(limit);
      const before = worst.get(what)?.difference ?? 0;
      worst.set(what, { difference: Math.max(before, Math.abs(difference)), limit });
    },
    report(): void {
      if (process.env.WPO_PARITY !== '1') return;
      for (const [what, { difference, limit }] of worst) {
        console.info(`${variant} | ${what} | ${difference.toExponential(1)} | ${limit.toExponential(0)}`);
      }
    },
  };
}

export type Parity = ReturnType<typeof parity>;
