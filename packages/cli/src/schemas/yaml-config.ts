import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { describe } from '@wpo/internal/describe';
import { printable } from '@wpo/internal/printable';
import * as v from 'valibot';
import { stringify } from 'yaml';
import { UserError } from '../errors';
import { answerForValue, unknownKey } from './other-names';
import { type Given, readYaml, readYamlValue } from './read-yaml';
import {
  type CommandSchema,
  type Field,
  type Fields,
  type Location,
  type Parsed,
  type Problem,
  yamlKey,
} from './schema';

/** Values by their YAML keys. */
export type Entries = ReadonlyMap<string, Given>;

/**
 * Parses a command's configuration. Relative paths start from the folder of the file, those of `set` from the working directory.
 *
 * @param set settings as `key=value` with YAML values, which override the file
 * @throws {UserError} naming every problem: file, line and key, what was expected and what was found
 */
export function parseConfig<F extends Fields>(
  schema: CommandSchema<F>,
  yaml: string,
  { file, set = [] }: { readonly file: string; readonly set?: readonly string[] },
): Parsed<F> {
  return parseEntries(schema, readEntries(yaml, file, set), { file });
}

/** The keys of a YAML text and of `--set`, which override it. */
export const readEntries = (yaml: string, file: string, set: readonly string[]): Entries =>
  new Map([...readYaml(yaml, file), ...set.map(readSetting)]);

/**
 * Checks values against a schema, fills in defaults and resolves paths.
 *
 * @param prefix is put before keys in messages, e.g. `sample.`
 * @throws {UserError} naming every problem
 */
export function parseEntries<F extends Fields>(
  schema: CommandSchema<F>,
  entries: Entries,
  { file, prefix = '' }: { readonly file: string; readonly prefix?: string },
): Parsed<F> {
  const keys = new Map(Object.keys(schema.fields).map((name) => [yamlKey(name), name]));
  const given = new Map<string, Given>();
  const problems: string[] = [];
  for (const [written, entry] of entries) {
    const key = schema.configFile ? written : written.replaceAll('-', '_'); // a stage's key may be written as its flag
    const name = keys.get(key);
    if (entry.refusal !== undefined) {
      problems.push(`${entry.at}${prefix}${written}: ${entry.refusal}`);
      continue;
    }
    if (name !== undefined) {
      if (entry.value !== null) given.set(name, entry); // `key:` without a value leaves the default
      continue;
    }
    const names = { kind: 'key', command: schema.name, nameOf: (own: string) => own } as const;
    problems.push(`${entry.at}${prefix}${unknownKey(written, [...keys.keys()], names)}`);
  }

  const values: Record<string, unknown> = {};
  for (const [name, field] of Object.entries(schema.fields)) {
    const entry = given.get(name);
    if (entry === undefined) {
      if (field.required) problems.push(`${file}: ${prefix}${missing(name, field)}`);
      if (field.default !== undefined) values[name] = field.default;
      continue;
    }
    const result = v.safeParse(field.schema, entry.value);
    if (result.success) values[name] = result.output;
    else problems.push(`${entry.at}${prefix}${mismatch(name, field, entry.value)}`);
  }
  if (problems.length === 0) {
    adaptDefaults(schema.fields, values, (name) => given.has(name));
    const written = Object.fromEntries([...given].map(([name, { value }]) => [name, value]));
    for (const problem of schema.check?.(values as Parsed<F>, yamlKey, written) ?? []) {
      problems.push(`${given.get(problem.field)?.at ?? `${file}: `}${prefix}${describeProblem(problem, yamlKey)}`);
    }
  }
  if (problems.length > 0) throw new UserError(listProblems(problems));

  for (const [name, location] of locationsOf(schema, values as Parsed<F>)) {
    const folder = given.get(name)?.folder ?? process.cwd();
    const locate = (source: string) => resolveLocation(folder, source, location);
    values[name] = withLocations(values[name] as Located, locate);
  }
  return values as Parsed<F>;
}

/** The value of a field with a location. */
export type Located = string | readonly (string | { readonly path: string })[];

/** Converts each location of a value. */
function withLocations(value: Located, convert: (source: string) => string): Located {
  if (typeof value === 'string') return convert(value);
  return value.map((one) => (typeof one === 'string' ? convert(one) : { ...one, path: convert(one.path) }));
}

/** The locations of a value. */
export const locationsIn = (value: Located): string[] =>
  [value].flat().map((one) => (typeof one === 'string' ? one : one.path));

const MAX_PROBLEMS = 20;

/** The first problems of a file, one per line. */
export const listProblems = (problems: readonly string[]): string =>
  [
    ...problems.slice(0, MAX_PROBLEMS),
    ...(problems.length > MAX_PROBLEMS ? [`and ${problems.length - MAX_PROBLEMS} more mistakes`] : []),
  ].join('\n');

function missing(name: string, { expected, help }: Field): string {
  return `${yamlKey(name)}: expected ${expected}, found nothing. This key is required: ${help}.`;
}

const mismatch = (name: string, field: Field, found: unknown): string =>
  `${yamlKey(name)}: expected ${field.expected}, found ${field.isSecret ? 'another value' : describeValue(found)}.` +
  mismatchHint(name, field, found);

function mismatchHint(name: string, field: Field, found: unknown): string {
  const words = Object.keys(field.choices ?? {});
  const unknown = [found]
    .flat()
    .find((word) => ['string', 'boolean'].includes(typeof word) && !words.includes(String(word)));
  const near =
    words.length === 0 || unknown === undefined ? undefined : answerForValue(yamlKey(name), String(unknown), words);
  if (near !== undefined)
    return ` Did you mean "${near}"${unknown === found ? '' : ` instead of "${printable(String(unknown), 60)}"`}?`;
  if (typeof found === 'string') {
    if (isNumber(field, found)) return ' Remove the quotes.';
    const truth = TRUTH[found.trim().toLowerCase()];
    if (truth !== undefined && v.is(field.schema, truth)) return ` Write ${truth}.`;
  }
  if (typeof found === 'number' && v.is(field.schema, String(found))) return ' Put it in quotes.';
  return field.default === undefined ? '' : ` The default is ${formatValue(field.default)}.`;
}

/** Words that YAML 1.1 and Python read as true and false. */
const TRUTH: Readonly<Record<string, boolean>> = {
  yes: true,
  on: true,
  true: true,
  no: false,
  off: false,
  false: false,
};

/** Adapts the defaults that depend on other values, e.g. a limit that must be below another. */
export function adaptDefaults(
  fields: Fields,
  values: Record<string, unknown>,
  isGiven: (name: string) => boolean,
): void {
  for (const [name, { adapt }] of Object.entries(fields)) {
    if (adapt !== undefined && !isGiven(name)) values[name] = adapt(values);
  }
}

/** Whether a text is a number that the field accepts. */
function isNumber({ schema, fromText }: Pick<Field, 'schema' | 'fromText'>, text: string): boolean {
  const value = fromText(text, undefined);
  return typeof value === 'number' && v.is(schema, value);
}

/** Formats a problem as a message. @param name returns a field's name as the user writes it */
export const describeProblem = ({ field, expected, found, hint }: Problem, name: (field: string) => string): string =>
  `${name(field)}: expected ${expected}, found ${found}.${hint === undefined ? '' : ` ${hint}`}`;

/** The fields of a configuration that hold a location and have a value. */
export function locationsOf<F extends Fields>(
  { fields }: CommandSchema<F>,
  config: Parsed<F>,
): [name: string, location: Location][] {
  const values = config as Readonly<Record<string, unknown>>;
  return Object.entries(fields).flatMap(([name, { location, plainNameWith }]): [string, Location][] => {
    if (location === undefined || values[name] === undefined) return [];
    return plainNameWith !== undefined && values[plainNameWith] !== undefined ? [] : [[name, location]];
  });
}

/**
 * Resolves a location to an absolute path, or to a full name on the Hub, `hf://org/name`, so that it means the same in every
 * folder. `org/name` is a name on the Hub unless there is such a path in `folder`.
 */
export function resolveLocation(folder: string, source: string, location: Location): string {
  if (location === 'server' || source.startsWith('hf://')) return source;
  const path = resolve(folder, source);
  if (location === 'file' || location === 'output') return path;
  const named =
    /^\w[\w.-]*\/\w[\w.-]*$/.test(source) &&
    !/\.(jsonl|ndjson|json|csv|tsv|tab|parquet|arrow)(\.(gz|zst))?$/i.test(source);
  if (!named || existsSync(path)) return path;
  return location === 'model' ? `hf://${source}` : `hf://datasets/${source}`;
}

/** Formats a configuration as YAML that parses to an equal configuration. */
export const configYaml = <F extends Fields>({ fields }: CommandSchema<F>, config: Parsed<F>): string => {
  const values = config as Readonly<Record<string, unknown>>;
  return stringify(
    Object.fromEntries(
      Object.keys(fields).flatMap((name) => (values[name] === undefined ? [] : [[yamlKey(name), values[name]]])),
    ),
  );
};

/** Parses a `key=value` of `--set`, or a `--key=value` that stands for it. */
export function readSetting(setting: string): [string, Given] {
  const [, dashes = '', key = '', value] = /^(--)?([^=]*)=(.*)$/s.exec(setting) ?? [];
  if (value === undefined || key.trim() === '') {
    throw new UserError(`--set ${printable(setting, 100)}: expected key=value, e.g. --set learning_rate=1e-6.`);
  }
  const at = dashes || '--set ';
  const name = key.trim();
  try {
    return [name, { value: readYamlValue(value, `${at}${printable(name, 60)}: `), at, folder: process.cwd() }];
  } catch {
    throw new UserError(
      `${at}${printable(name, 60)}: expected a YAML value, found ${describeValue(value)}. Put text that has : or # in quotes.`,
    );
  }
}

/** Describes a value in a message. */
export function describeValue(value: unknown): string {
  if (typeof value === 'string') return `the text ${describe(value, 100)}`;
  if (typeof value !== 'object' || value === null) return String(value);
  const json = describe(value, 61);
  return json.length <= 60 ? json : Array.isArray(value) ? 'a list' : 'a group of keys';
}

/** Formats a value for help and messages: small numbers with an exponent, lists with commas, groups of keys as JSON. */
export function formatValue(value: unknown): string {
  if (Array.isArray(value)) return value.map(formatValue).join(',');
  if (typeof value === 'object' && value !== null) return JSON.stringify(value);
  return typeof value === 'number' && value > 0 && value < 1e-3 ? value.toExponential() : String(value);
}
