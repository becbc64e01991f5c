import type { PairLengths } from './matrix-products';
import { type Row, row } from './report';
import type { Turn } from './turns';

export const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length / 2;
  return (sorted[Math.ceil(half) - 1]! + sorted[Math.floor(half)]!) / 2;
}

/** Takes each item's median over the measured rounds, and the mean over items; undefined where the side has no turns. */
export function perItem<T>(turns: readonly Turn<T>[], side: string, value: (answer: T) => number): number | undefined {
  const rounds = new Map<number, number[]>();
  for (const turn of turns) {
    if (turn.side !== side || turn.round === 0) continue;
    rounds.set(turn.item, [...(rounds.get(turn.item) ?? []), value(turn.answer)]);
  }
  return rounds.size === 0 ? undefined : mean(Array.from(rounds.values(), median));
}

/** The peak memory of a side in GB, warm-up included; null where the system does not report it. */
export function peakGb(turns: readonly Turn<object>[], side: string): number | null {
  const peaks = turns.filter((turn) => turn.side === side).map(({ answer }) => answer.peakBytes);
  return peaks.length === 0 || peaks.includes(null) ? null : Math.max(...(peaks as number[])) / 1e9;
}

/** The row of `Worker.anonymousBytes`. */
export const WITHOUT_MAPPED = 'peak GB without mapped files';

/** Bytes in GB; null where there are none. */
export const inGb = (bytes: number | null | undefined): number | null => (bytes == null ? null : bytes / 1e9);

interface PairAnswer {
  readonly lengths: PairLengths;
}

/** How many tokens the two sides' sequences may differ by. */
const LENGTH_TOLERANCE = 2;

const sequences = ({ prompt, chosen, rejected }: PairLengths) => [prompt + chosen, prompt + rejected];

/** @throws Error where a side ran sequences of other lengths than expected, so that the times would not be comparable */
export function checkLengths(turns: readonly Turn<PairAnswer>[], expected: readonly PairLengths[]): void {
  for (const { side, item, answer } of turns) {
    const [found, planned] = [sequences(answer.lengths), sequences(expected[item]!)];
    if (found.every((length, i) => Math.abs(length - planned[i]!) <= LENGTH_TOLERANCE)) continue;
    throw new Error(
      `${side}: pair ${item}: expected sequences of ${planned.join(' and ')} tokens, found ${found.join(' and ')}. ` +
        'The times would not be comparable: check that both sides encode and truncate in the same way.',
    );
  }
}

/**
 * A row with the largest relative difference between our numbers and the peer's, in the warm-up round, on the pairs with equal
 * prompt lengths: evidence that both did the same work. No row where there is no such pair.
 */
export function agreement<T extends PairAnswer>(
  of: string,
  what: string,
  turns: readonly Turn<T>[],
  [name, peer]: readonly [ours: string, peer: string],
  numbers: (answer: T) => readonly number[],
): Row[] {
  const firstRound = (side: string) => turns.filter((turn) => turn.side === side && turn.round === 0);
  const theirs = new Map(firstRound(peer).map(({ item, answer }) => [item, answer]));
  const differences = firstRound(name).flatMap(({ item, answer }) => {
    const other = theirs.get(item);
    if (!other || other.lengths.prompt !== answer.lengths.prompt) return [];
    const found = numbers(other);
    return [Math.max(...numbers(answer).map((value, i) => Math.abs(found[i]! / value - 1)))];
  });
  if (differences.length === 0) return [];
  const label = `largest difference of ${what} from ${peer}, ${differences.length} pairs, %`;
  return [row(of, label, 'given', 100 * Math.max(...differences))];
}
