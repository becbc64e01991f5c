import { expect, test } from 'vitest';
import { describe } from '../src/describe';

test.each([
  [{ a: [1, 'x'], b: null }, '{"a":[1,"x"],"b":null}'],
  [undefined, 'nothing'],
  [Number.NaN, 'NaN'],
  [12n, '12'],
  [() => 1, 'a function'],
  ['a\u001b[2J\u202e\n', '"a\\u001b[2J\\u202e\\n"'],
  [[[[[[1]]]]], '[[[[[…]]]]]'],
  [[], '[]'],
  [[undefined, Infinity], '[nothing,Infinity]'],
])('shows %o', (value, text) => {
  expect(describe(value)).toBe(text);
});

test('a long value is cut', () => {
  expect(describe(Array.from({ length: 1e6 }, (_, i) => i))).toHaveLength(120);
  expect(describe('x'.repeat(1e6), 40)).toBe(`"${'x'.repeat(36)}...`);
  expect(describe({ ['k'.repeat(1e6)]: 1 }, 20)).toBe(`{"${'k'.repeat(15)}...`);
  expect(describe('💥'.repeat(100), 40)).not.toMatch(/[\ud800-\udbff](?![\udc00-\udfff])/);
});

test('a value may be nested a million levels deep, or contain itself', () => {
  let nested: unknown = 1;
  for (let level = 0; level < 1e6; level++) nested = [nested];
  expect(describe(nested)).toBe('[[[[[…]]]]]');
  const circle: unknown[] = [];
  circle.push(circle, circle, circle);
  expect(describe(circle).length).toBeLessThanOrEqual(120);
});
