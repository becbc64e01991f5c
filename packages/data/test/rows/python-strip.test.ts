import { expect, it } from 'vitest';
import { strip, stripEnd, stripStart } from '../../src/rows/python-strip';
import { reference } from '../fixtures';

const { strip: whitespace, stripChars } = reference();

const strips = (text: string, chars?: string) => ({
  strip: strip(text, chars),
  lstrip: stripStart(text, chars),
  rstrip: stripEnd(text, chars),
});

it('removes the whitespace that Python removes, and no other', () => {
  expect(whitespace.length).toBeGreaterThan(60);
  expect(whitespace.map(({ text }) => ({ text, ...strips(text) }))).toEqual(whitespace);
});

it('removes the given characters, also beyond U+FFFF', () => {
  expect(stripChars.map(({ text, chars }) => ({ text, chars, ...strips(text, chars) }))).toEqual(stripChars);
});
