import { expect, test } from 'vitest';
import { readUsage } from '../device-memory';

test('a process holds what it holds on each GPU, and what the driver does not know is left out', () => {
  expect([...readUsage('71, 1024\n9, 3\n71, 8\n12, [N/A]\n')]).toEqual([
    [71, 1032 * 2 ** 20],
    [9, 3 * 2 ** 20],
  ]);
  expect(readUsage('No devices were found').size).toBe(0);
});
