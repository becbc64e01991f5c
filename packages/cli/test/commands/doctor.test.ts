import { expect, test } from 'vitest';
import { main } from '../../src/main';
import { capture } from '../wpo';

test('the doctor reports Node, TensorFlow and memory, and exits with 0 if all checks passed', async () => {
  const terminal = capture();
  const status = await main(['doctor'], terminal);
  const lines = terminal.out().trimEnd().split('\n');
  expect(lines.find((line) => /\bNode\b/.test(line))).toContain(process.versions.node);
  for (const name of ['TensorFlow', 'Memory']) expect(lines.some((line) => line.includes(name))).toBe(true);
  expect(status).toBe(lines.at(-1) === 'All checks passed.' ? 0 : 1);
});
