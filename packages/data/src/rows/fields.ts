// Checked access to the fields of one row, and the error that names a bad row and field.
import { printable } from '@wpo/internal/printable';
import { messagesAsText } from './messages-as-text';

/** The location of a row, for ids and errors. */
export interface RowLocation {
  /** The file's path as the caller gave it, or any name for rows that come from no file. */
  readonly file: string;
  /** The line on which the row starts, counted from 1; in a Parquet file, the number of the row. */
  readonly line: number;
}

/** What is wrong with a row: the parts of a `RowError`'s message. */
export interface RowFault {
  /** The bad field, e.g. `chosen[1].content`; absent if the whole row is bad. */
  readonly field?: string;
  readonly expected: string;
  readonly found: string;
  /** How to fix it: one or two sentences. */
  readonly hint: string;
}

/** A row that cannot be used. Its message names file, line and field, what was expected, what was found, and how to fix it. */
export class RowError extends Error implements RowFault, RowLocation {
  override readonly name = 'RowError';
  readonly file: string;
  readonly line: number;
  readonly field?: string;
  readonly expected: string;
  readonly found: string;
  readonly hint: string;

  constructor(at: RowLocation, { field, expected, found, hint }: RowFault, options?: ErrorOptions) {
    const where = `${printable(at.file)}:${at.line}:${field === undefined ? '' : ` ${printable(field, 100)}:`}`;
    super(`${where} expected ${printable(expected)}, found ${printable(found)}. ${printable(hint)}`, options);
    this.file = at.file;
    this.line = at.line;
    if (field !== undefined) this.field = field;
    this.expected = expected;
    this.found = found;
    this.hint = hint;
  }
}

export function fail(at: RowLocation, fault: RowFault): never {
  throw new RowError(at, fault);
}

/** A row's columns by name. */
export type Fields = Readonly<Record<string, unknown>>;

export function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A field of the row; undefined for names that the row only inherits, such as `toString`. */
export function ownField(row: Fields, name: string): unknown {
  return Object.hasOwn(row, name) ? row[name] : undefined;
}

/** An optional field: null counts as absent, and so does NaN, which pandas writes for a missing value. */
export function optionalField(row: Fields, name: string): unknown {
  const value = ownField(row, name) ?? undefined;
  return Number.isNaN(value) ? undefined : value;
}

export function optionalNumber(row: Fields, name: string, at: RowLocation): number | undefined {
  const value = optionalField(row, name);
  if (value === undefined) return undefined;
  // a large integer is read as text, because it may be an id
  const number = typeof value === 'string' && /^-?\d{16,}$/.test(value) ? Number(value) : value;
  if (typeof number !== 'number' || !Number.isFinite(number)) {
    fail(at, {
      field: name,
      expected: 'a finite number',
      found: describe(value),
      hint: 'Write it as a number without quotes, or leave it out.',
    });
  }
  return number;
}

/** An optional whole number of at least 0. */
export function optionalInteger(row: Fields, name: string, at: RowLocation): number | undefined {
  const value = optionalNumber(row, name, at);
  if (value === undefined || (Number.isSafeInteger(value) && value >= 0)) return value;
  return fail(at, {
    field: name,
    expected: 'a whole number from 0 to 2^53 - 1',
    found: describe(value),
    hint: 'Write it as a number without quotes, or leave it out.',
  });
}

/** An id: text, or a number read as text. Empty text counts as absent. */
export function optionalId(row: Fields, name: string, at: RowLocation): string | undefined {
  const value = optionalField(row, name);
  if (value === undefined || value === '') return undefined;
  if (typeof value === 'string') return checkUnicode(value, name, at);
  if (typeof value === 'number' && Number.isFinite(value)) return String(value);
  return fail(at, {
    field: name,
    expected: 'a string or a number',
    found: describe(value),
    hint: 'Write it as one of them, or leave it out.',
  });
}

/**
 * The text of a column. Refuses a list of messages that was written as text, e.g. in a CSV file: a model would learn its
 * brackets and quotes.
 */
export function checkText(text: string, field: string, at: RowLocation): string {
  const found = messagesAsText(text);
  if (found !== undefined) {
    fail(at, {
      field,
      expected: 'text, or a list of {role, content}',
      found: `${found}, which a CSV file or str() made: ${describe(text)}`,
      hint:
        'Write the data as JSONL or Parquet, or turn the column back into lists with json.loads or ast.literal_eval. ' +
        'If this is the text that is meant, write it as the content of a message.',
    });
  }
  return checkUnicode(text, field, at);
}

/** Rejects lone surrogates, which UTF-8 cannot encode and no tokenizer accepts. @param field names it in the error */
export function checkUnicode(text: string, field: string, at: RowLocation): string {
  const lone = /\p{Surrogate}/u.exec(text); // with the u flag, only surrogates without their other half
  if (lone !== null) {
    const code = lone[0].charCodeAt(0).toString(16);
    fail(at, {
      field,
      expected: 'valid Unicode text',
      found: `a lone surrogate \\u${code} at character ${lone.index}`,
      hint: 'The text was probably cut in the middle of an emoji: restore the character, or remove this half of it.',
    });
  }
  return text;
}

/** A value as an error message shows it. */
export function describe(value: unknown): string {
  if (value === null) return 'null';
  if (value === undefined) return 'nothing';
  if (Array.isArray(value)) return 'a list';
  switch (typeof value) {
    case 'string':
      return `the text ${printable(JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value))}`;
    case 'number':
      return `the number ${value}`;
    case 'boolean':
      return String(value);
    case 'object':
      return 'an object';
    default:
      return `a ${typeof value}`;
  }
}
