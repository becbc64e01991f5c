import type { PairLengths } from './products';
import { type Row, row } from './report';
import type { Turn } from './turns';

interface PairAnswer {
  readonly lengths: PairLengths;
}

/** Tokens of a prompt with an answer that the sides may differ by: TRL lets a token span the border between them. */
const BORDER = 2;

const sequences = ({ prompt, chosen, rejected }: PairLengths) => [prompt + chosen, prompt + rejected];

/** @throws Error where a side ran sequences of other lengths than were asked for: the times would not be of the same work */
export function checkLengths(turns: readonly Turn<PairAnswer>[], wanted: readonly PairLengths[]): void {
  for (const { side, item, answer } of turns) {
    const [found, expected] = [sequences(answer.lengths), sequences(wanted[item]!)];
    if (found.every((length, i) => Math.abs(length - expected[i]!) <= BORDER)) continue;
    throw new Error(
      `${side} ran pair ${item} as sequences of ${found.join(' and ')} tokens, not ${expected.join(' and ')}: the times ` +
        'would not be of the same work.',
    );
  }
}

/**
 * How far a peer's numbers of the first round are from ours, on the pairs whose tokens are the same: a sign that both did
 * the same work. None where there is no such pair.
 */
export function agreement<T extends PairAnswer>(
  of: string,
  what: string,
  turns: readonly Turn<T>[],
  [name, peer]: readonly [ours: string, peer: string],
  numbers: (answer: T) => readonly number[],
): Row[] {
  const first = (side: string) => turns.filter((turn) => turn.side === side && turn.round === 0);
  const theirs = new Map(first(peer).map(({ item, answer }) => [item, answer]));
  const apart = first(name).flatMap(({ item, answer }) => {
    const other = theirs.get(item);
    if (!other || other.lengths.prompt !== answer.lengths.prompt) return [];
    const found = numbers(other);
    return [Math.max(...numbers(answer).map((value, i) => Math.abs(found[i]! / value - 1)))];
  });
  if (apart.length === 0) return [];
  return [
    row(of, `${what} apart from ${peer}'s on ${apart.length} pairs, % at most`, 'given', 100 * Math.max(...apart)),
  ];
}
