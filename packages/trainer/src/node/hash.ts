import { createHash, type Hash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import type { Json } from '../checkpoint';
import { type PairSource, pairAt } from '../policy';

/** SHA-256, in hex, of the files' own hashes in the order given. File names do not matter. */
export async function hashFiles(paths: readonly string[]): Promise<string> {
  const hash = createHash('sha256');
  for (const path of paths) hash.update(await hashFile(path));
  return hash.digest('hex');
}

/** SHA-256, in hex, of a file's content, read in chunks. */
export async function hashFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const piece of createReadStream(path, { highWaterMark: 1 << 22 })) hash.update(piece as Buffer);
  return hash.digest('hex');
}

/** SHA-256, in hex, of the pairs' token ids in order. Ids and weights of pairs do not matter. */
export function hashPairs(pairs: PairSource): string {
  const hash = createHash('sha256');
  for (let i = 0; i < pairs.length; i++) {
    const { prompt, chosen, rejected } = pairAt(pairs, i);
    for (const ids of [prompt, chosen, rejected]) updateIds(hash, ids);
  }
  return hash.digest('hex');
}

function updateIds(hash: Hash, ids: ArrayLike<number>): void {
  hash.update(Int32Array.of(ids.length));
  hash.update(Int32Array.from(ids));
}

/** SHA-256, in hex, of a JSON value. The order of object keys does not matter. */
export function hashJson(value: Json): string {
  return createHash('sha256').update(canonical(value)).digest('hex');
}

function canonical(value: Json): string {
  if (value === null || typeof value !== 'object') return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${entries.map(([key, entry]) => `${JSON.stringify(key)}:${canonical(entry)}`).join(',')}}`;
}
