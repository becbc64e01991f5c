import { describeRange, isInRange, type Range } from '@wpo/internal/ranges';
import * as v from 'valibot';
import type { Field, FieldOptions, JsonSchema, Kind, Location } from './schema';

// The helpers that declare a field: `learningRate: number({ above: 0, default: 1e-6, help: 'peak learning rate' })`.

type Presence<O> = O extends { readonly default: unknown } | { readonly required: true } ? true : false;

/** A field of any kind; the helpers below are easier where they fit. */
export const field = <T, const O extends FieldOptions<NoInfer<T>>>(
  kind: Kind<T>,
  options: O,
  location?: Location,
): Field<T, Presence<O>> => ({
  affects: location === undefined ? 'results' : 'nothing',
  ...kind,
  ...options,
  ...(location === undefined ? {} : { location }),
});

export const number = <const O extends FieldOptions<number> & Range>(options: O) =>
  field(numberKind('a number', 'number', options), options);

export const integer = <const O extends FieldOptions<number> & Range>(options: O) =>
  field(numberKind('a whole number', 'integer', options), options);

function numberKind(name: string, type: 'number' | 'integer', range: Range): Kind<number> {
  const { min, above, max, below } = range;
  const isValid = (found: number) =>
    (type === 'number' ? Number.isFinite(found) : Number.isSafeInteger(found)) && isInRange(found, range);
  return {
    expected: name + describeRange(range),
    json: definedOnly({ type, minimum: min, exclusiveMinimum: above, maximum: max, exclusiveMaximum: below }),
    schema: v.pipe(v.number(), v.check(isValid)),
    placeholder: type === 'number' ? 'number' : 'count',
    fromText: numberFromText,
  };
}

/** Parses a text as a number. Returns an empty text as it is, which fields of numbers reject. */
export const numberFromText = (text: string): unknown => (text.trim() === '' ? text : Number(text));

const definedOnly = (schema: JsonSchema): JsonSchema =>
  Object.fromEntries(Object.entries(schema).filter(([, value]) => value !== undefined));

/** True or false in YAML; a switch on the command line: `--field`, or `--no-field` where it is on by default. */
export const boolean = <const O extends FieldOptions<boolean>>(options: O) =>
  field(
    {
      expected: 'true or false',
      json: { type: 'boolean' },
      schema: v.boolean(),
      fromText: () => true,
    } as Kind<boolean>,
    options,
  );

/** One of a few words. @param choices the meaning of each word */
export const choice = <
  const C extends Readonly<Record<string, string>>,
  const O extends FieldOptions<keyof C & string>,
>(
  choices: C,
  options: O,
) => {
  const words = Object.keys(choices) as (keyof C & string)[];
  const kind: Kind<keyof C & string> = {
    expected: `one of ${words.join(', ')}`,
    json: { enum: words },
    schema: v.picklist(words) as v.GenericSchema<unknown, keyof C & string>,
    placeholder: 'word',
    choices,
    fromText: (text) => text,
  };
  return field(kind, options);
};

/** Text that is not empty. @param expected completes "expected …" in messages, e.g. `the name of a split` */
export const text = <const O extends FieldOptions<string>>(expected: string, options: O) =>
  field(textKind(expected, 'name'), options);

const textKind = (expected: string, placeholder: string): Kind<string> => ({
  expected,
  json: { type: 'string', minLength: 1 },
  schema: v.pipe(v.string(), v.nonEmpty()),
  placeholder,
  fromText: (given) => given,
});

const LOCATIONS: Readonly<Record<Location, readonly [expected: string, placeholder: string]>> = {
  file: ['the path of a file', 'file'],
  model: ['the path of a folder, or org/name on the Hugging Face Hub', 'model'],
  dataset: ['the path of a file or folder, a glob, or org/name on the Hugging Face Hub', 'data'],
  server: ['an address such as http://localhost:8000/v1', 'url'],
  output: ['a path to write to', 'path'],
};

/** A path, a name on the Hub, or a server's address. */
export const path = <const O extends FieldOptions<string>>(location: Location, options: O) =>
  field(
    { ...textKind(...LOCATIONS[location]), ...(location === 'server' && { isSecret: true as const }) }, // it may have a password
    options,
    location,
  );

/** One text or a list of them. */
export const texts = <const O extends FieldOptions<readonly string[]>>(expected: string, options: O) =>
  field(textsKind(expected, 'name'), options);

/** One path or a list of them. */
export const paths = <const O extends FieldOptions<readonly string[]>>(options: O) =>
  field(textsKind('the path of a file, or a list of paths', 'file'), options, 'file');

function textsKind(expected: string, placeholder: string): Kind<readonly string[]> {
  const one = v.pipe(v.string(), v.nonEmpty());
  return {
    expected,
    json: { type: ['string', 'array'], items: { type: 'string' } },
    schema: v.pipe(
      v.union([one, v.pipe(v.array(one), v.minLength(1))]),
      v.transform((found) => [found].flat()),
    ),
    placeholder,
    variadic: true,
    fromText: (given, before) => [...((before as readonly string[] | undefined) ?? []), given],
  };
}
