import { expect, test } from 'vitest';
import { printable, printableLines } from '../src/printable';

test.each([
  ['plain text, Grüße, 日本語, 👩‍💻', 'plain text, Grüße, 日本語, 👩‍💻'],
  ['\x1b]0;title\x07\x1b[2J', '\\u001b]0;title\\u0007\\u001b[2J'],
  ['a\nb\r\tc\0\x7f', 'a\\nb\\r\\tc\\u0000\\u007f'],
  ['\x9b31m\x85', '\\u009b31m\\u0085'],
  ['exe.\u202etxt\u2066\u200f\u061c\ufeff', 'exe.\\u202etxt\\u2066\\u200f\\u061c\\ufeff'],
  ['one\u2028two\u2029', 'one\\u2028two\\u2029'],
  ['\ud800x\udc00', '\\ud800x\\udc00'],
])('%j is printed as %j', (text, expected) => {
  expect(printable(text)).toBe(expected);
});

test('a long text is cut between characters, and the rest is counted', () => {
  expect(printable('x'.repeat(500))).toHaveLength(500);
  expect(printable('x'.repeat(501))).toBe(`${'x'.repeat(500)}… (1 more characters)`);
  expect(printable('ab👩cd', 3)).toBe('ab… (4 more characters)');
});

test('text of several lines keeps its line breaks and tabs', () => {
  expect(printableLines('one\n\ttwo\r\x1b[31m\u2028')).toBe('one\n\ttwo\\r\\u001b[31m\\u2028');
  expect(printableLines('x'.repeat(1000))).toHaveLength(1000);
});
