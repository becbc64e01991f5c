import { expect, test } from 'vitest';
import { formatReport, row } from '../report';
import { median, peakGb, perItem } from '../statistics';

const turn = (side: string, round: number, item: number, seconds: number, peakBytes: number | null = 1e9) => ({
  side,
  round,
  item,
  answer: { seconds, peakBytes },
});

test('takes the median over measured rounds for each item, then the mean over items', () => {
  const turns = [turn('a', 0, 0, 90), turn('b', 1, 0, 70)];
  for (const [item, times] of [
    [1, 2, 9],
    [4, 4, 8],
  ].entries()) {
    for (const [i, seconds] of times.entries()) turns.push(turn('a', i + 1, item, seconds));
  }
  expect(perItem(turns, 'a', ({ seconds }) => seconds)).toBe((2 + 4) / 2);
  expect(perItem(turns, 'none', ({ seconds }) => seconds)).toBeUndefined();
  expect(median([3, 1])).toBe(2);
});

test('the peak includes the warm-up round, and is null where any turn has none', () => {
  expect(peakGb([turn('a', 0, 0, 1, 3e9), turn('a', 1, 0, 1, 2e9), turn('b', 0, 0, 1, 9e9)], 'a')).toBe(3);
  expect(peakGb([turn('a', 0, 0, 1, 3e9), turn('a', 1, 0, 1, null)], 'a')).toBeNull();
});

test('a ratio above 1 means ours is ahead, whether less or more is better', () => {
  expect(row('step', 's', 'less', 2, { peer: 3 }).peers[0]!.ratio).toBe(1.5);
  expect(row('generate', 'tokens/s', 'more', 30, { peer: 20 }).peers[0]!.ratio).toBe(1.5);
  expect(row('step', 's', 'less', 2, { peer: undefined, other: null }).peers).toEqual([]);
});

test('the table has a column for each peer, empty where the peer was not run', () => {
  const machine = {
    cpu: 'a CPU',
    cores: 2,
    memoryGb: 24,
    node: '20.0.0',
    tensorflow: '2.21.0',
    device: 'cpu',
    native: true,
  } as const;
  const rows = [row('step', 's per pair', 'less', 4, { TRL: 6.2 }), row('memory', 'growth, %', 'less', 0.25)];
  expect(formatReport({ machine, rows, notes: [], turns: [] })).toBe(
    [
      '                    ours   TRL  ratio',
      'step: s per pair    4.00  6.20  1.55x',
      'memory: growth, %  0.250',
      '',
      'a CPU, 2 cores, 24 GB; Node 20.0.0, TensorFlow 2.21.0, native kernels in C++',
      '',
    ].join('\n'),
  );
});
