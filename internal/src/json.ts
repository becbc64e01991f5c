import { describe } from './describe';

/** A text is not JSON that can be used. The message completes "found …". */
export class JsonError extends Error {
  override readonly name = 'JsonError';
}

/**
 * Parses JSON. A byte-order mark at the beginning is ignored.
 *
 * @param maxDepth levels of nesting. Functions that walk over values call themselves, and run out of stack at some thousands
 * @throws {JsonError} whose message completes "found …": `invalid JSON at line 3, column 7`
 */
export function parseJson(text: string, { maxDepth = 100 }: { readonly maxDepth?: number } = {}): unknown {
  const json = text.startsWith('\ufeff') ? text.slice(1) : text;
  if (depthOf(json, maxDepth) > maxDepth) throw new JsonError(`JSON with more than ${maxDepth} levels of nesting`);
  try {
    return JSON.parse(json);
  } catch (error) {
    throw new JsonError(describeSyntaxError(json, (error as Error).message));
  }
}

/** The nesting of a JSON text; counting stops above `most`. */
function depthOf(json: string, most: number): number {
  let depth = 0;
  let deepest = 0;
  for (let i = 0; i < json.length && deepest <= most; i++) {
    const character = json.charCodeAt(i);
    if (character === 0x22) {
      for (i++; i < json.length && json.charCodeAt(i) !== 0x22; i++) if (json.charCodeAt(i) === 0x5c) i++;
    } else if (character === 0x5b || character === 0x7b) {
      deepest = Math.max(deepest, ++depth);
    } else if (character === 0x5d || character === 0x7d) {
      depth--;
    }
  }
  return deepest;
}

/** What is wrong with a text, from the message of `JSON.parse`. */
export function describeSyntaxError(json: string, message: string): string {
  if (json.trim() === '') return 'an empty file';
  if (json.startsWith('version https://git-lfs')) return 'a Git LFS pointer';
  const lineAt = (position: number) => json.slice(0, position).split('\n').length;
  const position = /at position (\d+)/.exec(message)?.[1];
  if (/end of JSON input|Unterminated/.test(message) || Number(position) >= json.length) return 'JSON that is cut off';
  if (position !== undefined) {
    const at = Number(position);
    return `invalid JSON at line ${lineAt(at)}, column ${at - json.lastIndexOf('\n', at - 1)}, near ${describe(json.slice(at, at + 24), 24)}`;
  }
  // V8 quotes the text around an unexpected token instead of giving its position
  const near = /, (?:\.\.\.)?"(.*)"(?:\.\.\.)? is not valid JSON$/s.exec(message)?.[1] ?? json;
  return `invalid JSON at line ${lineAt(Math.max(0, json.indexOf(near)))}, near ${describe(near, 40)}`;
}

/** Whether a value is a JSON object: not null, and not a list. */
export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
