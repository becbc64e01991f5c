import { createHash, type Hash } from 'node:crypto';
import { type PairSource, pairAt } from '../policy';

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
