// JSON of data files, as pandas and Python's json write it: with 64-bit integers, NaN and byte-order marks.
import { describeSyntaxError, JsonError } from './json';

/** Deeper values overflow the stack of functions that visit them. */
const MAX_DEPTH = 1000;

/** A value takes up to a hundred times the memory of its text, so that a row of a few megabytes could take gigabytes. */
const MAX_VALUES = 1_000_000;

/**
 * The value of a JSON text. A byte-order mark at its start is ignored. An integer that a number cannot hold exactly, such as
 * a 64-bit id, becomes its text, as in a Parquet file. NaN, which Python writes for a missing value, becomes null.
 * Infinity becomes a number, so that a column that is not used may have it.
 *
 * @throws {JsonError} if the text is not JSON, or its value is nested too deeply or has too many parts
 */
export function parseDataJson(source: string): unknown {
  const text = source.startsWith('\ufeff') ? source.slice(1) : source;
  try {
    return JSON.parse(text.length < MAX_DEPTH && !UNUSUAL.test(text) ? text : standardJson(text));
  } catch (error) {
    if (error instanceof JsonError) throw error;
    const problem = describeSyntaxError(text, (error as Error).message);
    throw new JsonError(problem.replace(/ at line \d+, near/, ' near').replace(' at line 1, column', ' at column'));
  }
}

/** What is not JSON or not exact in JavaScript, outside of strings or in one. */
const UNUSUAL = /\d{16}|NaN|Infinity/;

/** Replaces what `parseDataJson` reads in its own way by standard JSON, and checks depth and size. */
function standardJson(text: string): string {
  let result = '';
  let copied = 0; // end of the part of the text that is in the result
  let depth = 0;
  let values = 0;
  const replace = (start: number, end: number, replacement: string) => {
    result += text.slice(copied, start) + replacement;
    copied = end;
  };
  for (let i = 0; i < text.length; ) {
    const start = i;
    const code = text.charCodeAt(i++);
    const word = wordAt(text, start, code);
    if (code === QUOTE) i = endOfString(text, i);
    else if (word !== undefined) {
      i = start + word[0].length;
      replace(start, i, word[1]);
    } else if (code === OPEN_LIST || code === OPEN_OBJECT || code === COMMA) {
      if (code !== COMMA) depth += 1;
      values += 1;
      if (depth > MAX_DEPTH || values > MAX_VALUES) throw tooLarge(depth > MAX_DEPTH);
    } else if (code === CLOSE_LIST || code === CLOSE_OBJECT) depth -= 1;
    else if (code === MINUS || isDigit(code)) {
      i = endOfNumber(text, i);
      const token = text.slice(start, i);
      if (/^-?[1-9]\d{15,}$/.test(token) && String(Number(token)) !== token) replace(start, i, `"${token}"`);
    }
  }
  return copied === 0 ? text : result + text.slice(copied);
}

const tooLarge = (isDepth: boolean) =>
  new JsonError(
    isDepth ? `JSON with more than ${MAX_DEPTH} levels of nesting` : `more than ${MAX_VALUES} values in one row`,
  );

const [QUOTE, COMMA, OPEN_LIST, CLOSE_LIST, OPEN_OBJECT, CLOSE_OBJECT, MINUS] = [...'",[]{}-'].map((character) =>
  character.charCodeAt(0),
) as [number, number, number, number, number, number, number];

/** Words that are not JSON, by the code of their first character, with what replaces them. */
const WORDS = new Map(
  Object.entries({ NaN: 'null', Infinity: '1e999', '-Infinity': '-1e999' }).map((word) => [
    word[0].charCodeAt(0),
    word,
  ]),
);

function wordAt(text: string, start: number, code: number): readonly [name: string, replacement: string] | undefined {
  const word = WORDS.get(code);
  return word !== undefined && text.startsWith(word[0], start) ? word : undefined;
}

const isDigit = (code: number) => code >= 0x30 && code <= 0x39;

/** The index after the closing quote of a string that is open at `from`. */
function endOfString(text: string, from: number): number {
  for (let quote = text.indexOf('"', from); quote >= 0; quote = text.indexOf('"', quote + 1)) {
    let backslashes = 0;
    while (quote - backslashes > from && text.charCodeAt(quote - backslashes - 1) === BACKSLASH) backslashes += 1;
    if (backslashes % 2 === 0) return quote + 1;
  }
  return text.length;
}

const BACKSLASH = 0x5c;

function endOfNumber(text: string, from: number): number {
  NUMBER.lastIndex = from;
  NUMBER.test(text);
  return NUMBER.lastIndex;
}

const NUMBER = /[\d.eE+-]*/y;
