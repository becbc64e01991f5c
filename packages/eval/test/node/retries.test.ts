import { afterEach, expect, test, vi } from 'vitest';
import { Fault } from '../../src/node/attempt';
import { waitBefore } from '../../src/node/retries';

afterEach(() => vi.restoreAllMocks());

test('waits double from half a second to half a minute', () => {
  const fault = new Fault('status 500', { again: true });
  vi.spyOn(Math, 'random').mockReturnValue(0);
  expect([0, 1, 2, 5, 6, 9].map((retry) => waitBefore(retry, fault))).toEqual([500, 1000, 2000, 16000, 30000, 30000]);
  vi.spyOn(Math, 'random').mockReturnValue(0.5);
  expect(waitBefore(2, fault)).toBe(1500);
});

test('a wait that the server asked for is kept as it is', () => {
  expect(waitBefore(0, new Fault('status 429', { again: true, after: 90_000 }))).toBe(90_000);
  expect(waitBefore(9, new Fault('status 429', { again: true, after: 0 }))).toBe(0);
});
