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

function describeSyntaxError(json: string, message: string): string {
  if (json.trim() === '') return 'an empty file';
  if (json.startsWith('version https://git-lfs')) return 'a Git LFS pointer';
  if (message.includes('end of JSON input') || message.includes('Unterminated')) return 'JSON that is cut off';
  const position = /at position (\d+)/.exec(message)?.[1];
  if (position === undefined) return `text that is not JSON: ${describe(json, 40)}`;
  const before = json.slice(0, Number(position));
  const line = before.split('\n').length;
  const column = before.length - before.lastIndexOf('\n');
  return `invalid JSON at line ${line}, column ${column}, near ${describe(json.slice(Number(position)), 24)}`;
}

/** Whether a value is a JSON object: not null, and not a list. */
export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
