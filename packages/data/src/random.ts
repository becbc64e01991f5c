/**
 * xoshiro128** by Blackman and Vigna (https://prng.di.unimi.it/xoshiro128starstar.c): 32-bit integers from four words of
 * state, not all zero. The same on every platform.
 */
export function xoshiro128(state: readonly [number, number, number, number]): () => number {
  let [a, b, c, d] = state;
  return () => {
    const result = Math.imul(rotate(Math.imul(b, 5), 7), 9) >>> 0;
    const t = b << 9;
    c ^= a;
    d ^= b;
    b ^= c;
    a ^= d;
    c ^= t;
    d = rotate(d, 11);
    return result;
  };
}

/** Four words of state from any integers: each folded in by MurmurHash3's 32-bit finaliser, from four starting points. */
export function stateFrom(words: readonly number[]): [number, number, number, number] {
  const fold = (start: number) => words.reduce((hash, word) => finalise(hash ^ word), start);
  return [fold(0x9e3779b9), fold(0x3c6ef372), fold(0xdaa66d2b), fold(0x78dde6e4)];
}

/** An integer from 0 to `limit - 1`, each as likely as the next; `limit` from 1 to 2^32. */
export function below(limit: number, next: () => number): number {
  const unfair = 2 ** 32 % limit; // the lowest draws, left out so that the rest divides evenly
  for (;;) {
    const draw = next();
    if (draw >= unfair) return draw % limit;
  }
}

export const rotate = (x: number, by: number) => (x << by) | (x >>> (32 - by));

/** MurmurHash3's 32-bit finaliser: each bit of `h` moves about half of the result's. */
export function finalise(h: number): number {
  h ^= h >>> 16;
  h = Math.imul(h, 0x85ebca6b);
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
