import * as v from 'valibot';
import { expect, test } from 'vitest';
import { columnNames } from '../../../data/src/rows/layouts';
import { columns } from '../../src/schemas/shared';

test('--columns may be repeated, and a column’s name may have an equals sign', () => {
  const given = columns.fromText('chosen=a=b', columns.fromText('prompt=instruction', undefined));
  expect(given).toEqual({ prompt: 'instruction', chosen: 'a=b' });
});

test('--columns accepts the fields of @wpo/data and no others', () => {
  const all = columnNames.map((name) => columns.fromText(`${name}=x`, undefined));
  expect(all.every((given) => v.is(columns.schema, given))).toBe(true);
  for (const text of ['question=q', 'prompt']) {
    expect(v.is(columns.schema, columns.fromText(text, undefined))).toBe(false);
  }
});
