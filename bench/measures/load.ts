import { median } from '../numbers';
import type { LoadAnswer } from '../ours/load';
import { row } from '../report';
import { BEST, ours, peerSide } from '../sides';
import { type Answer, open } from '../turns';
import type { Bench, Measured } from './measure';

/** From a checkpoint on the disk to weights in memory, each time in a process of its own. */
export async function measureLoad({ model, flags, peer, say }: Bench): Promise<Measured> {
  const sides = [ours('load', { model }), ...(peer ? [peerSide(peer, 'load', { model })] : [])];
  const turns: { side: string; round: number; startSeconds: number; answer: LoadAnswer & Answer }[] = [];
  for (let round = 0; round <= flags.rounds; round++) {
    for (const side of sides) {
      say(`load: ${round === 0 ? 'warming up' : `round ${round} of ${flags.rounds}`}, ${side.name}`);
      const worker = await open(side);
      try {
        const answer = await worker.ask<LoadAnswer>({});
        turns.push({ side: side.name, round, startSeconds: worker.startSeconds, answer });
      } finally {
        await worker.close();
      }
    }
  }
  const over = (side: string, value: (turn: (typeof turns)[number]) => number) => {
    const values = turns.filter((turn) => turn.side === side && turn.round > 0).map(value);
    return values.length === 0 ? undefined : median(values);
  };
  const { bytes = 0 } = turns[0]!.answer;
  const own = (value: (answer: LoadAnswer & Answer) => number) => over('ours', ({ answer }) => value(answer))!;
  const both = (what: string, value: (turn: (typeof turns)[number]) => number) =>
    row('load', what, 'less', over('ours', value)!, { [BEST]: over(BEST, value) });
  return {
    rows: [
      both('weights in memory, s', ({ answer }) => answer.seconds),
      both('and a first forward pass, s', ({ answer }) => answer.firstPassSeconds),
      both('from the start of the process, s', ({ startSeconds, answer }) => startSeconds + answer.firstPassSeconds),
      both('peak GB', ({ answer }) => (answer.peakBytes ?? Number.NaN) / 1e9),
      row('load', 'checkpoint, GB', 'given', bytes / 1e9),
      row(
        'load',
        'GB/s',
        'given',
        own(({ seconds }) => bytes / 1e9 / seconds),
      ),
      row(
        'load',
        'GB/s of reading the files alone',
        'given',
        own(({ readSeconds }) => bytes / 1e9 / readSeconds!),
      ),
    ],
    turns: turns.map((turn) => ({ measure: 'load', ...turn })),
  };
}
