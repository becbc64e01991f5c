import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export const readJson = <T>(name: string): T =>
  JSON.parse(readFileSync(fileURLToPath(new URL(`./fixtures/${name}`, import.meta.url)), 'utf8')) as T;

const bytes = new TextEncoder();

/** Text as a stream of bytes, in chunks of `size`. */
export async function* chunked(text: string, size = 7): AsyncGenerator<Uint8Array> {
  const all = bytes.encode(text);
  for (let i = 0; i < all.length; i += size) yield all.subarray(i, i + size);
}
