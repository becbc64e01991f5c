import { createHash } from 'node:crypto';

/** Seals JSON text: `checksum` is its last key. Every later change of a byte is found. */
const SEAL = /,(\s*)"checksum": ?"([0-9a-f]{16})"(\s*\})\s*$/;

/**
 * JSON text of an object, with a checksum of this text as its last key.
 *
 * @param purpose is part of the checksum, so that text of one file is not taken for that of another
 * @param indent spaces per level; without it the text is one line
 */
export function seal(purpose: string, value: object, indent?: number): string {
  const text = JSON.stringify(value, null, indent);
  const key = indent === undefined ? ',"checksum":' : `,\n${' '.repeat(indent)}"checksum": `;
  const [body, end] = indent === undefined ? [text.slice(0, -1), '}'] : [text.slice(0, -2), '\n}'];
  return `${body}${key}"${checksum(purpose, body)}"${end}`;
}

/**
 * The object of text that `seal` made, without the checksum; undefined if anything in the text was changed.
 *
 * @param purpose as for `seal`
 */
export function unseal(purpose: string, text: string): Record<string, unknown> | undefined {
  const found = SEAL.exec(text);
  if (found === null) return undefined;
  const body = text.slice(0, found.index);
  if (checksum(purpose, body) !== found[2]) return undefined;
  return JSON.parse(`${body}}`) as Record<string, unknown>;
}

/** The object with its checksum as the last key, for a writer of JSON lines. */
export const sealRow = <T extends object>(purpose: string, row: T): T & { readonly checksum: string } => ({
  ...row,
  checksum: checksum(purpose, JSON.stringify(row).slice(0, -1)),
});

/** The object that `sealRow` was given, from its parsed line; undefined if anything in it was changed. */
export function unsealRow(purpose: string, row: unknown): Record<string, unknown> | undefined {
  if (typeof row !== 'object' || row === null || Array.isArray(row)) return undefined;
  const { checksum: found, ...rest } = row as Record<string, unknown>;
  return found === checksum(purpose, JSON.stringify(rest).slice(0, -1)) ? rest : undefined;
}

/** 64 bits: enough to find damage. It is no protection against forgery. */
const checksum = (purpose: string, text: string): string =>
  createHash('sha256').update(purpose).update('\0').update(text).digest('hex').slice(0, 16);
