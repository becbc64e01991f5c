import { describe, expect, test } from 'vitest';
import { parseDataJson } from '../src/data-json';
import { JsonError } from '../src/json';

const failure = (text: string) => {
  try {
    parseDataJson(text);
  } catch (error) {
    expect(error).toBeInstanceOf(JsonError);
    return (error as JsonError).message;
  }
  throw new Error('nothing was thrown');
};

describe('parseDataJson', () => {
  test.each([
    ['9007199254740991', 9007199254740991],
    ['9007199254740992', 9007199254740992],
    ['9007199254740993', '9007199254740993'],
    ['-9007199254740993', '-9007199254740993'],
    ['[18446744073709551615,{"a":12345678901234567890}]', ['18446744073709551615', { a: '12345678901234567890' }]],
    ['1000000000000000.5', 1000000000000000.5],
    ['12345678901234567e3', 12345678901234567e3],
    ['0.12345678901234566', 0.12345678901234566],
  ])('keeps integers exact: %s', (text, value) => {
    expect(parseDataJson(text)).toEqual(value);
  });

  test('leaves digits, NaN and escaped quotes in strings as they are', () => {
    const value = { '12345678901234567890': 'a \\" 98765432109876543210 "NaN" \\\\', NaN: ['Infinity', '\\'] };
    expect(parseDataJson(JSON.stringify(value))).toEqual(value);
  });

  test('reads what Python writes for missing and infinite numbers', () => {
    expect(parseDataJson('[NaN, Infinity, -Infinity, {"a": NaN}, null]')).toEqual([
      null,
      Infinity,
      -Infinity,
      { a: null },
      null,
    ]);
  });

  test('ignores one byte-order mark', () => {
    expect(parseDataJson('\ufeff{}')).toEqual({});
    expect(failure('\ufeff\ufeff{}')).toContain('invalid JSON');
  });

  test.each([
    '',
    '{',
    '{"a":',
    '"\u001b[2J',
    '{a: 1}',
    "{'a': 1}",
    '[1,]',
    'nul',
    'NaNa',
    '01234567890123456789',
    '{NaN: 1}',
    '-',
    'a'.repeat(10_000),
  ])('says in plain words what is not JSON: %j', (text) => {
    expect(failure(text)).toMatch(/^(invalid JSON|JSON that is cut off|an empty file)\P{Cc}{0,200}$/u);
    expect(failure(text)).not.toMatch(/Unexpected token/);
  });

  test('refuses values that would overflow the stack or memory', () => {
    expect(failure('['.repeat(1_000_000))).toBe('JSON with more than 1000 levels of nesting');
    expect(failure(`${'{"a":'.repeat(1001)}1${'}'.repeat(1001)}`)).toBe('JSON with more than 1000 levels of nesting');
    expect(failure(`[${'{},'.repeat(1_000_001)}1]`)).toBe('more than 1000000 values in one row');
    expect(parseDataJson(`${'['.repeat(1000)}${']'.repeat(1000)}`)).toHaveLength(1);
  });
});
