import { expect, test } from 'vitest';
import { inTurns } from '../turns';

const side = (name: string, script: string) => ({ name, command: process.execPath, args: ['-e', script] });

/** Answers each line with the request and the time, and writes other output in between. */
const echo = `
  console.log('@{}');
  require('readline').createInterface({ input: process.stdin }).on('line', (line) => {
    console.log('output of a library');
    console.log('@' + JSON.stringify({ asked: JSON.parse(line), at: Date.now(), peakBytes: null }));
  });`;

const quiet = { say: () => {} };

test('sides take turns item by item and round by round, after a warm-up round', async () => {
  const { turns } = await inTurns<{ asked: object; at: number }>([side('a', echo), side('b', echo)], {
    ...quiet,
    items: 2,
    rounds: 1,
    request: (item, round) => ({ item, round }),
  });
  expect(turns.map((turn) => `${turn.side} ${turn.round}.${turn.item}`)).toEqual(
    ['0.0', '0.1', '1.0', '1.1'].flatMap((at) => [`a ${at}`, `b ${at}`]),
  );
  for (const { answer, round, item } of turns) expect(answer.asked).toEqual({ item, round });
  const times = turns.map(({ answer }) => answer.at);
  expect(times).toEqual([...times].sort((x, y) => x - y));
});

test('an error names a side that exits before it is ready, with the end of its stderr', async () => {
  const dying = side('broken', "console.error('out of memory'); process.exit(3)");
  const run = inTurns([side('a', echo), dying], { ...quiet, items: 1, rounds: 1, request: () => ({}) });
  await expect(run).rejects.toThrow('broken: exited with status 3\nout of memory');
});

test('a side that exits in the middle of a turn is an error', async () => {
  const script = "console.log('@{}'); process.stdin.once('data', () => process.exit(0))";
  const run = inTurns([side('gone', script)], { ...quiet, items: 1, rounds: 1, request: () => ({}) });
  await expect(run).rejects.toThrow('gone: exited with status 0');
});
