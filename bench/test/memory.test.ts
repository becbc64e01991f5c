import { expect, test } from 'vitest';
import { anonymousBytes, parseDeviceUsage } from '../memory';

test("sums a process's memory over GPUs and skips lines without a number", () => {
  expect([...parseDeviceUsage('71, 1024\n9, 3\n71, 8\n12, [N/A]\n')]).toEqual([
    [71, 1032 * 2 ** 20],
    [9, 3 * 2 ** 20],
  ]);
  expect(parseDeviceUsage('No devices were found').size).toBe(0);
});

test('anonymous memory counts what the process has written, and not the pages of mapped libraries', () => {
  const before = anonymousBytes(process.pid)!;
  const written = Buffer.alloc(64e6, 1);
  expect(anonymousBytes(process.pid)! - before).toBeGreaterThan(50e6);
  expect(anonymousBytes(process.pid)!).toBeLessThan(process.memoryUsage.rss());
  expect(written[5]).toBe(1);
});
