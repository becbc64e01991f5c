// Keeps keys and passwords out of messages.
import { printable } from '../printable';

const MASK = '***';

/** The shortest beginning of a secret that is masked at the end of a text that was cut off. */
const MIN_PREFIX = 4;

/**
 * Replaces secrets in a text, e.g. in a server's reply that repeats the request. Finds a secret also if it is URL-encoded,
 * in base64, broken by white space, or cut off at the end of the text. Call it before the text is shortened.
 *
 * @param secrets keys and passwords; undefined and empty ones are ignored
 */
export function redact(text: string, secrets: readonly (string | undefined)[]): string {
  const forms = secrets
    .filter((secret) => secret !== undefined && secret.trim() !== '')
    .flatMap((secret) => formsOf(secret!));
  return [...new Set(forms)].sort((a, b) => b.length - a.length).reduce(maskOne, text);
}

function formsOf(secret: string): string[] {
  const encoded = (text: string) => Buffer.from(text).toString('base64');
  const url = isWellFormed(secret) ? encodeURIComponent(secret) : secret;
  return [secret, url, encoded(secret)].map((form) => form.replace(/\s/g, '')).filter((form) => form !== '');
}

function maskOne(text: string, secret: string): string {
  const gap = String.raw`(?:\s|\\[nrt]){0,200}`; // white space, also as an escape in JSON; bounded for the engine's stack
  const pattern = [...secret].map((character) => character.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&')).join(gap);
  const masked = text.replace(new RegExp(pattern, 'g'), MASK);
  for (let length = secret.length - 1; length >= MIN_PREFIX; length--) {
    if (masked.endsWith(secret.slice(0, length))) return masked.slice(0, -length) + MASK;
  }
  return masked;
}

const isWellFormed = (text: string) => !/\p{Cs}/u.test(text);

/**
 * An address as it may be printed: user name, password, query and fragment are replaced, as they may hold keys. The text
 * need not be a valid address, and need not have a scheme.
 */
export function printableAddress(address: string): string {
  const [, scheme = '', rest = ''] = /^([a-z][a-z0-9+.-]*:\/\/)?(.*)$/is.exec(address.trim()) ?? [];
  // the last @, as a password that was not encoded may contain any character
  const withoutUser = rest.replace(/^.*@/s, `${MASK}@`);
  return printable(scheme + withoutUser.replace(/([?#]).*$/s, `$1${MASK}`), 200);
}
