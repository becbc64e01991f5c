import { expect, test } from 'vitest';
import { parseDeviceUsage } from '../memory';

test("sums a process's memory over GPUs and skips lines without a number", () => {
  expect([...parseDeviceUsage('71, 1024\n9, 3\n71, 8\n12, [N/A]\n')]).toEqual([
    [71, 1032 * 2 ** 20],
    [9, 3 * 2 ** 20],
  ]);
  expect(parseDeviceUsage('No devices were found').size).toBe(0);
});
