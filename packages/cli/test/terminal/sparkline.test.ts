import { expect, test } from 'vitest';
import { History, sparkline } from '../../src/terminal/sparkline';

test('a sparkline goes from the least value to the greatest', () => {
  expect(sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8)).toBe('▁▂▃▄▅▆▇█');
  expect(sparkline([3, 1], 8)).toBe('█▁');
  expect(sparkline([2, 2, 2], 8)).toBe('▄▄▄');
  expect(sparkline([], 8)).toBe('');
});

test('more values than characters are drawn as the means of parts', () => {
  expect(sparkline([0, 2, 4, 6, 8, 14, 0, 2], 4)).toBe('▁▄█▁'); // means 1, 5, 11, 1
});

test('the history of a long run has at most 128 values, each the mean of as many steps, and ends with the latest', () => {
  const history = new History();
  for (let step = 0; step < 1004; step++) history.add(step);
  history.add(Number.NaN);
  const values = history.values();
  expect(values).toHaveLength(126); // 125 means of 8 steps, and one of the last 4
  expect(values.slice(0, 2)).toEqual([3.5, 11.5]);
  expect(values.at(-1)).toBe(1001.5);
});
