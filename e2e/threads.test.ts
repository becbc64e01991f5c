import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { beforeAll, expect, test } from 'vitest';
import { built, LONG } from './support';

beforeAll(built, LONG); // threads.mjs runs the built packages

const script = fileURLToPath(new URL('threads.mjs', import.meta.url));

/** Hashes of the weights before and after training. */
const weightsOn = (threads: number) => {
  const env = { ...process.env, WPO_THREADS: String(threads) };
  const { status, stdout, stderr } = spawnSync(process.execPath, [script], { encoding: 'utf8', env });
  expect(status, stderr).toBe(0);
  return stdout.trim().split('\n');
};

test('three training steps give the same bits on one, two and seven threads', () => {
  const [before, after] = weightsOn(1);
  expect(after).toMatch(/^[0-9a-f]{64}$/);
  expect(after).not.toBe(before);
  expect(weightsOn(2)).toEqual([before, after]);
  expect(weightsOn(7)).toEqual([before, after]);
});
