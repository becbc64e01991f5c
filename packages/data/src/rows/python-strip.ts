// Python's str.isspace. JavaScript's trim() also removes U+FEFF, and keeps U+001C to U+001F and U+0085.
export const WHITESPACE =
  '\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000';

const SPACES: ReadonlySet<string> = new Set(WHITESPACE);

/** Python's `text.strip(chars)`; without `chars` it removes Python's whitespace. */
export function strip(text: string, chars?: string): string {
  return stripEnd(stripStart(text, chars), chars);
}

/** Python's `text.lstrip(chars)`. */
export function stripStart(text: string, chars?: string): string {
  const set = chars === undefined ? SPACES : new Set(chars);
  let start = 0;
  for (const char of text) {
    if (!set.has(char)) break;
    start += char.length;
  }
  return text.slice(start);
}

/** Python's `text.rstrip(chars)`. */
export function stripEnd(text: string, chars?: string): string {
  const set = chars === undefined ? SPACES : new Set(chars);
  let end = text.length;
  while (end > 0) {
    // a character beyond U+FFFF takes two code units
    const wide = end > 1 && (text.codePointAt(end - 2) ?? 0) > 0xffff;
    const char = text.slice(wide ? end - 2 : end - 1, end);
    if (!set.has(char)) break;
    end -= char.length;
  }
  return text.slice(0, end);
}
