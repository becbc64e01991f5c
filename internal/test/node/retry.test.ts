import { afterEach, describe, expect, test, vi } from 'vitest';
import { durationText, retryAfter, retryDelay, waitBeforeRetry, withRetries } from '../../src/node/retry';

afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
});

describe('withRetries', () => {
  const always = { firstDelay: 0, isRetryable: () => true };

  test('tries until an attempt succeeds', async () => {
    let attempts = 0;
    const action = async () => {
      if (++attempts < 3) throw new Error('busy');
      return attempts;
    };
    expect(await withRetries(action, { retries: 5, ...always })).toBe(3);
  });

  test('throws the last error after the last retry, or at once if the error is not retryable', async () => {
    let attempts = 0;
    const action = async () => {
      throw new Error(`attempt ${++attempts}`);
    };
    await expect(withRetries(action, { retries: 2, ...always })).rejects.toThrow('attempt 3');
    await expect(withRetries(action, { retries: 2, isRetryable: () => false })).rejects.toThrow('attempt 4');
    await expect(withRetries(action, { retries: 0, ...always })).rejects.toThrow('attempt 5');
  });

  test('waits as long as the server requested', async () => {
    const started = performance.now();
    let attempts = 0;
    const action = async () => {
      if (++attempts === 1) throw new Error('busy');
    };
    await withRetries(action, { retries: 1, isRetryable: () => true, firstDelay: 60_000, requestedDelay: () => 30 });
    expect(performance.now() - started).toBeGreaterThanOrEqual(29);
  });

  test.each([300_001, 86_400_000, 2 ** 31, 1e300, Number.POSITIVE_INFINITY])(
    'gives up at once if the server asks to wait %s ms',
    async (requested) => {
      let attempts = 0;
      const action = async () => {
        throw new Error(`attempt ${++attempts}`);
      };
      const asked = { retries: 4, isRetryable: () => true, requestedDelay: () => requested };
      await expect(withRetries(action, asked)).rejects.toThrow('attempt 1');
    },
  );

  test('an abort ends the wait, and the last error is thrown', async () => {
    const stop = new AbortController();
    let attempts = 0;
    const action = async () => {
      attempts += 1;
      throw new Error('busy');
    };
    const running = withRetries(action, {
      retries: 9,
      isRetryable: () => true,
      firstDelay: 60_000,
      signal: stop.signal,
    });
    setTimeout(() => stop.abort(), 5);
    await expect(running).rejects.toThrow('busy');
    expect(attempts).toBe(1);
  });
});

test('a wait of more than 5 seconds is reported before it begins', async () => {
  const waits: number[] = [];
  const stop = new AbortController();
  const onWait = (milliseconds: number) => void waits.push(milliseconds);
  const done = [5000, 5001, 300_000].map((asked) => waitBeforeRetry(0, asked, { onWait, signal: stop.signal }));
  expect(waits).toEqual([5001, 300_000]);
  stop.abort();
  await Promise.all(done);
});

test.each([
  [400, '1 s'],
  [119_000, '119 s'],
  [121_000, '3 min'],
  [86_400_000, '24 h'],
  [1e300, 'more than 1000 days'],
])('%s ms are written as %s', (milliseconds, text) => {
  expect(durationText(milliseconds)).toBe(text);
});

test('delays double from 0.5 s to 30 s, and up to half is subtracted at random', () => {
  vi.spyOn(Math, 'random').mockReturnValue(0);
  expect([0, 1, 2, 5, 6, 9].map((retry) => retryDelay(retry))).toEqual([500, 1000, 2000, 16000, 30000, 30000]);
  vi.spyOn(Math, 'random').mockReturnValue(0.5);
  expect(retryDelay(2)).toBe(1500);
  expect(retryDelay(2, undefined, 100)).toBe(300);
});

test('a delay that the server requested is used, up to five minutes', () => {
  expect(retryDelay(0, 90_000)).toBe(90_000);
  expect(retryDelay(9, 0)).toBe(0);
  expect(retryDelay(0, 3_600_000)).toBe(300_000);
});

test.each([
  [{}, undefined],
  [{ 'retry-after': '120' }, 120_000],
  [{ 'retry-after': '0.5' }, 500],
  [{ 'retry-after': 'Wed, 21 Oct 2015 07:28:30 GMT' }, 30_000],
  [{ 'retry-after': 'Wed, 21 Oct 2015 07:27:00 GMT' }, 0],
  [{ 'retry-after': 'soon' }, undefined],
  [{ 'retry-after': '120', 'retry-after-ms': '1500' }, 1500],
  [{ 'retry-after': '2', 'retry-after-ms': 'x' }, 2000],
])('the headers %j ask to wait %s ms', (headers, expected) => {
  vi.useFakeTimers({ now: Date.parse('2015-10-21T07:28:00Z') });
  expect(retryAfter(new Headers(headers))).toBe(expected);
});
