import fc from 'fast-check';
import { expect, test } from 'vitest';
import { seal, sealRow, unseal, unsealRow } from '../../src/node/sealed';

const value = { step: 3, name: 'a,"checksum":"b"', nested: { list: [1, 2.5, null] }, text: 'é\u2028' };

test('a sealed object is read back, as one line or indented', () => {
  expect(unseal('p', seal('p', value))).toEqual(value);
  expect(unseal('p', `${seal('p', value, 2)}\n`)).toEqual(value);
  expect(JSON.parse(seal('p', value, 2))).toMatchObject(value);
  expect(seal('p', { a: 1 })).toMatch(/^\{"a":1,"checksum":"[0-9a-f]{16}"\}$/);
});

test('a sealed row is read back, and a changed one is not', () => {
  const row = sealRow('p', value);
  expect(JSON.stringify(row)).toBe(seal('p', value));
  expect(unsealRow('p', JSON.parse(JSON.stringify(row)))).toEqual(value);
  for (const other of [{ ...row, step: 4 }, { ...row, extra: 1 }, value, null, [], 'x', 1]) {
    expect(unsealRow('p', other)).toBeUndefined();
  }
  expect(unsealRow('q', row)).toBeUndefined();
});

test('text for another purpose, without a seal, or with any byte changed is not accepted', () => {
  expect(unseal('other', seal('p', value))).toBeUndefined();
  expect(unseal('p', JSON.stringify(value))).toBeUndefined();
  for (const text of [seal('p', value), seal('p', value, 2)]) {
    fc.assert(
      fc.property(fc.nat(text.length - 1), fc.string({ minLength: 1, maxLength: 1 }), (at, character) => {
        fc.pre(character !== text[at] && character.trim() !== '');
        expect(unseal('p', text.slice(0, at) + character + text.slice(at + 1))).toBeUndefined();
        expect(unseal('p', text.slice(0, at))).toBeUndefined();
      }),
    );
  }
});
