import '@wpo/tensorflow';
import { writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { nativeOperations } from '../src/kernels/native';
import { randomCalls } from './native/random-calls';

// `npm run test:sanitize -- --calls N` sets these
const calls = Number(process.env.WPO_RANDOM_CALLS ?? 2000);
const seed = Number(process.env.WPO_RANDOM_SEED ?? 1);
/** Where the call is written that is about to run, so that it is known if it ends the process. */
const log = process.env.WPO_RANDOM_LOG;

test.runIf(nativeOperations())('every operation returns or refuses random inputs, and no call ends the process', () => {
  const counts = randomCalls(calls, seed, (call) => log !== undefined && writeFileSync(log, call));
  const all = Object.values(counts);
  const sum = (key: 'returned' | 'refused') => all.reduce((total, count) => total + count[key], 0);
  console.log(
    `${calls} random calls of ${all.length} operations, seed ${seed}: ${sum('returned')} returned, ${sum('refused')} refused`,
  );
  expect(sum('returned') + sum('refused')).toBe(calls);
  const neverReturned = Object.keys(counts).filter((name) => counts[name]!.returned === 0);
  expect(neverReturned).toEqual([]);
  expect(sum('returned')).toBeGreaterThan(calls / 3);
});
