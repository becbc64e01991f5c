import { join } from 'node:path';
import { expect, test } from 'vitest';
import { pairReader } from '../src/pairs';
import { modelFolder, temporaryFolder } from './golden';
import { capture, writeRows } from './wpo';

const file = join(temporaryFolder(), 'pairs.jsonl');
writeRows(file, [
  { prompt: 'a b c', chosen: 'd e', rejected: 'f' },
  { prompt: 'a b c '.repeat(40), chosen: 'd e', rejected: 'f' },
  { prompt: 'a', chosen: 'd', rejected: 'f e '.repeat(40) },
]);

test.each([
  [400, ''],
  [
    80,
    '2 of 3 pairs did not fit max_length 80: 1 lost a part of the prompt, 1 lost the end of an answer. Raise max_length',
  ],
])('pairs that are cut at a max_length of %i tokens are reported', async (maxLength, report) => {
  const terminal = capture();
  const read = await pairReader(modelFolder, terminal, { onBadRow: 'error', maxLength, completion: 'paper' });
  const { pairs } = await read(file);
  expect(terminal.err()).toContain(report);
  expect(pairs.map(({ truncated }) => truncated !== undefined)).toEqual([false, report !== '', report !== '']);
  expect(terminal.err().includes('did not fit')).toBe(report !== '');
});
