import { expect, test } from 'vitest';
import { secondsOfPass } from '../../src/training/time-plan';

test('the seconds of a pass are on the line through two measured ones, or through one and the origin', () => {
  expect(secondsOfPass(60, { seconds: 4, tokens: 80 }, { seconds: 2, tokens: 20 })).toBeCloseTo(2 + 4 / 3, 12);
  expect(secondsOfPass(20, { seconds: 4, tokens: 80 })).toBe(1);
});

test('the line neither falls nor begins below 0, whatever was measured', () => {
  expect(secondsOfPass(10, { seconds: 1, tokens: 80 }, { seconds: 3, tokens: 40 })).toBe(1);
  expect(secondsOfPass(10, { seconds: 4, tokens: 80 }, { seconds: 0.1, tokens: 79 })).toBe(0.5);
});
