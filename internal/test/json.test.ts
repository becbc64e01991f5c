import { expect, test } from 'vitest';
import { JsonError, parseJson } from '../src/json';

test('parses JSON, with a byte-order mark, nested to the limit', () => {
  expect(parseJson('\ufeff{"a": ["]", "\\"["]}')).toEqual({ a: [']', '"['] });
  expect(parseJson('[[[]]]', { maxDepth: 3 })).toEqual([[[]]]);
  expect(parseJson('["[[[[", "\\\\"]', { maxDepth: 1 })).toEqual(['[[[[', '\\']);
});

test.each([
  ['', 'an empty file'],
  ['{"a": 1', 'JSON that is cut off'],
  ['{"a": "b', 'JSON that is cut off'],
  ['{\n  "a": 1 b: 2\n}', 'invalid JSON at line 2, column 10, near "b: 2\\n}"'],
  [`${'\n'.repeat(60)}[[1, ${' '.repeat(60)}x]]`, 'invalid JSON at line 61, near "          x]]"'],
  ['version https://git-lfs.github.com/spec/v1\noid', 'a Git LFS pointer'],
  ['[[[[', 'JSON with more than 3 levels of nesting'],
])('%j is described', (text, message) => {
  expect(() => parseJson(text, { maxDepth: 3 })).toThrow(new JsonError(message));
});

test('text that is not JSON is shown without control characters', () => {
  expect(() => parseJson('\u001b[2J')).toThrow('invalid JSON at line 1, near "\\u001b[2J"');
});
