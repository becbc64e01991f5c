// Text from files, models and servers, made safe to print: a terminal acts on control characters.

/** Control characters (C0, DEL, C1), line separators, bidirectional controls, byte-order marks and lone surrogates. */
const UNSAFE = /[\p{Cc}\p{Cs}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/gu;

const SHORT_ESCAPES: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' };

const escapeCharacter = (character: string) =>
  SHORT_ESCAPES[character] ?? `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;

/** A text on one line, for a message or a table: unsafe characters become escapes such as `\u001b`, as in JSON. */
export function printable(text: string, maxLength = 500): string {
  if (text.length <= maxLength) return text.replace(UNSAFE, escapeCharacter);
  const shown = text.slice(0, maxLength).replace(/[\ud800-\udbff]$/, ''); // does not split a character
  return `${shown.replace(UNSAFE, escapeCharacter)}… (${text.length - shown.length} more characters)`;
}

/** As `printable`, for text of several lines and any length, such as a model's answer: keeps line breaks and tabs. */
export const printableLines = (text: string): string =>
  text.replace(UNSAFE, (character) =>
    character === '\n' || character === '\t' ? character : escapeCharacter(character),
  );
