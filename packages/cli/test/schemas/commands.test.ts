import { expect, test } from 'vitest';
import { COMMANDS } from '../../src/schemas/reference';
import type { Field, Fields } from '../../src/schemas/schema';
import {
  adapter,
  dtype,
  encodingFields,
  onBadRow,
  precision,
  promptFormat,
  requestFields,
  systemRole,
} from '../../src/schemas/shared';

// Commands that do the same work have the same options for it.

const locatedAt = (fields: Fields, names: readonly string[], location: string) =>
  names.some((name) => fields[name]?.location === location);

const WORK = {
  'loads a model': {
    isDoneBy: (fields: Fields) => locatedAt(fields, ['model', 'modelNameOrPath'], 'model'),
    options: { adapter, dtype, precision },
  },
  'encodes pairs': {
    isDoneBy: (fields: Fields) => 'truncation' in fields,
    options: { ...encodingFields, onBadRow },
  },
  'generates answers': {
    isDoneBy: (fields: Fields) => 'maxNewTokens' in fields,
    options: { promptFormat, systemRole },
  },
  'sends requests': {
    isDoneBy: (fields: Fields) => locatedAt(fields, ['endpoint', 'judge'], 'server'),
    options: requestFields,
  },
} as const;

/** Why a command lacks an option, or has another one of that name. */
const EXCEPTIONS: Readonly<Record<string, string>> = {
  'train adapter': 'an adapter is trained: adapter_name_or_path',
  'merge adapter': 'it is required',
  'merge dtype': 'it is the type of the written model',
  'merge precision': 'a merged weight is float32 until it is rounded to the type of the file',
  'init adapter': 'the file that it writes has a new adapter, if any',
  'init dtype': 'it is the type of random weights; that of a run is chosen',
  'init precision': 'it is chosen',
  'chat promptFormat': 'what is typed is a message',
  'chat systemRole': 'what is typed is a message of the user',
  'inspect onBadRow': 'rows that cannot be used are part of the report',
};

const same = (found: Field | undefined, expected: Field) =>
  found !== undefined && found.schema === expected.schema && found.default === expected.default && !found.required;

test.each(Object.entries(WORK))('a command that %s has the options of the others', (_, { isDoneBy, options }) => {
  const commands = COMMANDS.filter(({ fields }) => isDoneBy(fields));
  expect(commands.length).toBeGreaterThan(2);
  for (const { name, fields } of commands) {
    const differing = Object.entries(options).filter(([option, field]) => !same(fields[option], field as Field));
    const expected = Object.keys(options).filter((option) => `${name} ${option}` in EXCEPTIONS);
    expect(
      differing.map(([option]) => option),
      name,
    ).toEqual(expected);
  }
});

test('every exception is one of a command that does the work', () => {
  const options = COMMANDS.flatMap(({ name, fields }) =>
    Object.values(WORK)
      .filter(({ isDoneBy }) => isDoneBy(fields))
      .flatMap((work) => Object.keys(work.options).map((option) => `${name} ${option}`)),
  );
  for (const exception of Object.keys(EXCEPTIONS)) expect(options).toContain(exception);
});
