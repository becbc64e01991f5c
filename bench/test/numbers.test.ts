import { expect, test } from 'vitest';
import { median, peakGb, perItem } from '../numbers';
import { formatReport, row } from '../report';

const turn = (side: string, round: number, item: number, seconds: number, peakBytes: number | null = 1e9) => ({
  side,
  round,
  item,
  answer: { seconds, peakBytes },
});

test('a side’s figure is the mean over items of the median over the rounds that count', () => {
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

test('the peak counts the first round, and is unknown where one is', () => {
  expect(peakGb([turn('a', 0, 0, 1, 3e9), turn('a', 1, 0, 1, 2e9), turn('b', 0, 0, 1, 9e9)], 'a')).toBe(3);
  expect(peakGb([turn('a', 0, 0, 1, 3e9), turn('a', 1, 0, 1, null)], 'a')).toBeNull();
});

test('a ratio above 1 is ours ahead, whichever way is better', () => {
  expect(row('step', 's', 'less', 2, { peer: 3 }).peers[0]!.ratio).toBe(1.5);
  expect(row('generate', 'tokens/s', 'more', 30, { peer: 20 }).peers[0]!.ratio).toBe(1.5);
  expect(row('step', 's', 'less', 2, { peer: undefined, other: null }).peers).toEqual([]);
});

test('the table has a column for each peer, empty where it was not run', () => {
  const machine = {
    processor: 'a processor',
    cores: 2,
    memoryGb: 24,
    node: '20.0.0',
    tensorflow: '2.21.0',
    device: 'processor',
    fused: true,
  } as const;
  const rows = [row('step', 's a pair', 'less', 4, { TRL: 6.2 }), row('memory', 'growth, %', 'less', 0.25)];
  expect(formatReport({ machine, rows, turns: [] })).toBe(
    [
      '                    ours   TRL  ratio',
      'step: s a pair      4.00  6.20  1.55x',
      'memory: growth, %  0.250',
      '',
      'a processor, 2 cores, 24 GB; Node 20.0.0, TensorFlow 2.21.0, fused operations in C++',
      '',
    ].join('\n'),
  );
});
