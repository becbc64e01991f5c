import type { Turn } from './turns';

export const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length / 2;
  return (sorted[Math.ceil(half) - 1]! + sorted[Math.floor(half)]!) / 2;
}

/** Turns of one side that count. */
export const counted = <T>(turns: readonly Turn<T>[], side: string) =>
  turns.filter((turn) => turn.side === side && turn.round > 0);

/** The median over rounds of each item, and of these the mean over items; undefined where the side has no turns. */
export function perItem<T>(turns: readonly Turn<T>[], side: string, value: (answer: T) => number): number | undefined {
  const rounds = new Map<number, number[]>();
  for (const { item, answer } of counted(turns, side)) rounds.set(item, [...(rounds.get(item) ?? []), value(answer)]);
  return rounds.size === 0 ? undefined : mean(Array.from(rounds.values(), median));
}

/** The most memory that a side held, in GB; null where the system does not say. */
export function peakGb(turns: readonly Turn<object>[], side: string): number | null {
  const peaks = turns.filter((turn) => turn.side === side).map(({ answer }) => answer.peakBytes);
  return peaks.length === 0 || peaks.includes(null) ? null : Math.max(...(peaks as number[])) / 1e9;
}

/** Memory of a GPU in GB; null where none is used. */
export const deviceGb = (bytes: number | null | undefined): number | null =>
  bytes === null || bytes === undefined ? null : bytes / 1e9;
