import type { TokenPair } from './policy';

/** Pairs by index: an array, or anything that makes them when asked. */
export type PairSource = readonly TokenPair[] | { readonly length: number; get(index: number): TokenPair };

/** The pair at an index; `RangeError` outside the source. */
export function pairAt(source: PairSource, index: number): TokenPair {
  const pair = 'get' in source ? source.get(index) : source[index];
  if (!pair) throw new RangeError(`there is no pair ${index}: the data has ${source.length}`);
  return pair;
}
