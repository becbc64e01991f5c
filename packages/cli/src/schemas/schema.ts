import type * as v from 'valibot';

// A command's configuration is declared once, as a schema: a list of fields. Everything else comes from it: the TypeScript
// type of the configuration, the flags and their help (flags.ts), the YAML keys and their errors (yaml-config.ts), and the
// JSON schemas and reference page (reference.ts).

/** A JSON Schema, or a part of one. */
export type JsonSchema = Readonly<Record<string, unknown>>;

/** A kind of value: which values are valid, in YAML and on the command line. */
export interface Kind<T> {
  /** Completes "expected …" in messages. */
  readonly expected: string;
  readonly json: JsonSchema;
  /** Checks a value that YAML was parsed to. */
  readonly schema: v.GenericSchema<unknown, T>;
  /** Shown in a flag's usage: `<number>`. A kind without one is a switch, which takes no value. */
  readonly placeholder?: string;
  /** Names a value that may follow the flag. A kind with this has no `placeholder`. */
  readonly optionalValue?: string;
  /** The flag takes several values: `--answers a.jsonl b.jsonl`. */
  readonly variadic?: boolean;
  /** The value may hold a key or password: no message quotes it. */
  readonly isSecret?: true;
  /** The words that are accepted, and what each means. */
  readonly choices?: Readonly<Record<string, string>>;
  /** Converts a flag's text to a value. A flag that is repeated also receives its value so far. */
  readonly fromText: (text: string, before: unknown) => unknown;
}

/**
 * The kind of location that a field names. A relative path in a YAML file starts from that file's folder. `wpo run` hashes the
 * contents of inputs; of a server it hashes the address.
 */
export type Location =
  /** An input file. */
  | 'file'
  /** A model's folder, or its name on the Hugging Face Hub. */
  | 'model'
  /** Preference pairs: a file, a folder, a glob, or a data set's name on the Hub. */
  | 'dataset'
  /** The address of a server. */
  | 'server'
  /** A file or folder that the command writes. */
  | 'output';

/**
 * The effect of a field's value:
 * - `results`: it changes the computed numbers. A training run that is resumed must have the same value.
 * - `files`: it changes which rows are read or which files are written. Only `wpo run` compares it.
 * - `nothing`: it changes only the speed of the command and its messages.
 */
export type Affects = 'results' | 'files' | 'nothing';

export interface FieldOptions<T> {
  /** The help text: one sentence without a full stop. */
  readonly help: string;
  readonly default?: T;
  readonly required?: true;
  /** Default `results`; `nothing` for a field with a location, whose contents are hashed instead. */
  readonly affects?: Affects;
  /** Another field, e.g. `endpoint`. If that field has a value, this one is a plain name and not a location. */
  readonly plainNameWith?: string;
  /** Computes a default that depends on other values; `default` is its value beside their defaults. */
  readonly adapt?: (values: Readonly<Record<string, unknown>>) => T;
  /** How the field looks on the command line, where that differs from `--field-name <kind>`. */
  readonly flag?: FlagOptions;
}

export interface FlagOptions {
  /** A one-letter form, e.g. `-n`. */
  readonly short?: string;
  /** Name of the value in the usage, instead of the kind's placeholder. */
  readonly placeholder?: string;
  /** Fields that cannot be given together with this one. */
  readonly conflicts?: readonly string[];
  /** The help of `--no-field`, for a switch that is on by default. */
  readonly negatedHelp?: string;
  /** A positional argument instead of a flag. */
  readonly positional?: true;
}

/** A field of a configuration. `Present`: whether a parsed configuration always has a value for it. */
export interface Field<T = unknown, Present extends boolean = boolean> extends FieldOptions<T>, Kind<T> {
  readonly affects: Affects;
  readonly location?: Location;
  /** Type information only. */
  readonly present?: Present;
}

/** Fields by their names in code: `maxLength` is the YAML key `max_length` and the flag `--max-length`. */
export type Fields = Readonly<Record<string, Field>>;

type ValueOf<F> = F extends Field<infer T> ? T : never;
type PresentNames<F extends Fields> = { [K in keyof F]: F[K] extends Field<unknown, true> ? K : never }[keyof F];

/** A parsed configuration: defaults filled in, fields without a default and without a value absent. */
export type Parsed<F extends Fields> = { readonly [K in PresentNames<F>]: ValueOf<F[K]> } & {
  readonly [K in Exclude<keyof F, PresentNames<F>>]?: ValueOf<F[K]> | undefined;
};

/** A contradiction between values that are valid one by one. Printed as "`field`: expected …, found …. `hint`". */
export interface Problem {
  readonly field: string;
  readonly expected: string;
  readonly found: string;
  readonly hint?: string;
}

/** A field's name as the user wrote it: `max_length` in YAML, `--max-length` on the command line. */
export type Naming = (field: string) => string;

/** `FromFile`: whether the fields are keys of a YAML file, or flags. */
export interface CommandSchema<
  F extends Fields = Fields,
  A extends Fields = Fields,
  FromFile extends boolean = boolean,
> {
  readonly name: string;
  /** One line, for the list of commands. */
  readonly summary: string;
  /** A paragraph or several, for the command's help and reference page. */
  readonly description: readonly string[];
  /** The configuration: flags, or with `configFile` keys of a YAML file. */
  readonly fields: F;
  readonly configFile: FromFile;
  /** Flags of the command that are not part of its configuration, e.g. `--resume`. */
  readonly flags: A;
  /** Headings for the fields in help and reference, each with the names of its fields. Either all fields are in a group or none. */
  readonly groups?: Readonly<Record<string, readonly (keyof F & string)[]>>;
  readonly examples: readonly string[];
  /** Paragraphs at the end of the help. */
  readonly notes?: readonly string[];
  /** Finds values that contradict each other. @param written the values that the user wrote, as written */
  check?(config: Parsed<F>, name: Naming, written?: Readonly<Record<string, unknown>>): Problem[];
}

/** Infers the types of a schema. */
export const commandSchema = <
  const F extends Fields,
  const A extends Fields = Record<never, never>,
  const FromFile extends boolean = false,
>(
  schema: Omit<CommandSchema<F, A>, 'flags' | 'configFile'> & { readonly flags?: A; readonly configFile?: FromFile },
): CommandSchema<F, A, FromFile> => ({
  ...schema,
  flags: schema.flags ?? ({} as A),
  configFile: schema.configFile ?? (false as FromFile),
});

/** The configuration of a command. Each has a mapped type of its own, so that editors and the reference show it under its name. */
export type ConfigOf<S> = S extends { readonly fields: infer F extends Fields } ? Parsed<F> : never;

type DefaultNames<F extends Fields> = {
  [K in keyof F]: F[K] extends Field<unknown, true> ? (F[K]['required'] extends true ? never : K) : never;
}[keyof F];

/** The defaults of a command's fields. */
export const defaultsOf = <F extends Fields>({
  fields,
}: CommandSchema<F>): Pick<Parsed<F>, DefaultNames<F> & keyof Parsed<F>> =>
  Object.fromEntries(
    Object.entries(fields).flatMap(([name, field]) => (field.default === undefined ? [] : [[name, field.default]])),
  ) as Pick<Parsed<F>, DefaultNames<F> & keyof Parsed<F>>;

/** `maxLength` as a YAML key: `max_length`. */
export const yamlKey: Naming = (field) => field.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

/** `maxLength` as a flag: `--max-length`. */
export const flagName: Naming = (field) => `--${yamlKey(field).replaceAll('_', '-')}`;

/** The values of a configuration that decide its results, or its results and files; by YAML key, null where absent. */
export function decidingValues<F extends Fields>(
  { fields }: CommandSchema<F>,
  config: Parsed<F>,
  affects: readonly Affects[] = ['results'],
): Readonly<Record<string, unknown>> {
  const values = config as Readonly<Record<string, unknown>>;
  const names = Object.keys(fields).filter((name) => affects.includes(affectsOf(fields[name]!, values)));
  return {
    ...Object.fromEntries(names.map((name) => [yamlKey(name), values[name] ?? null])),
    ...sourceSettings(fields, values),
  };
}

/** What lists of sources say beside the locations, such as shares. */
const sourceSettings = (fields: Fields, values: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> =>
  Object.fromEntries(
    Object.keys(fields).flatMap((name) => {
      const value = values[name];
      if (fields[name]!.location !== 'dataset' || !Array.isArray(value)) return [];
      return [[yamlKey(name), value.map(({ path: _, ...settings }: { readonly path: string }) => settings)]];
    }),
  );

/** A plain name has no contents to hash, so the name itself counts. */
const affectsOf = ({ affects, plainNameWith }: Field, values: Readonly<Record<string, unknown>>): Affects =>
  plainNameWith !== undefined && values[plainNameWith] !== undefined ? 'results' : affects;
