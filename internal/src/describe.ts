import { printable } from './printable';

/** Nesting of the shown part of a value. What is deeper is shown as `[…]` or `{…}`. */
const MAX_DEPTH = 4;

/**
 * A found value for a message: JSON on one line, cut at `maxLength` characters, without control characters. Takes any value: of
 * any size, nested to any depth.
 */
export function describe(value: unknown, maxLength = 120): string {
  const parts: string[] = [];
  let left = maxLength;
  const put = (text: string) => {
    const part = printable(text, left + 1);
    parts.push(part);
    left -= part.length;
  };
  const visit = (found: unknown, depth: number) => {
    if (left < 0) return;
    if (typeof found === 'string') return put(JSON.stringify(found.slice(0, left + 1)));
    if (typeof found === 'function') return put('a function');
    if (typeof found !== 'object' || found === null) return put(found === undefined ? 'nothing' : String(found));
    const isList = Array.isArray(found);
    const [open, close] = isList ? '[]' : '{}';
    const keys = isList ? found.keys() : Object.keys(found).values();
    if (depth >= MAX_DEPTH) return put(`${open}…${close}`);
    put(open!);
    let separator = '';
    for (const key of keys) {
      if (left < 0) return;
      put(separator + (isList ? '' : `${JSON.stringify(String(key).slice(0, left + 1))}:`));
      visit((found as Record<string, unknown>)[key], depth + 1);
      separator = ',';
    }
    put(close!);
  };
  visit(value, 0);
  const text = parts.join('');
  return left >= 0 ? text : `${text.slice(0, maxLength - 3).replace(/[\ud800-\udbff]$/, '')}...`;
}
