/**
 * mulberry32 by T. Ettinger (public domain): numbers in [0, 1) from a 32-bit seed, the same on every machine. Sampled
 * completions depend on it, so its output must never change.
 */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/**
 * xoshiro128** by Blackman and Vigna (https://prng.di.unimi.it/xoshiro128starstar.c): 32-bit integers from four words of
 * state, not all zero. The same on every machine. Epoch orders and random pairs depend on it, so its output must never
 * change.
 */
export function xoshiro128(state: readonly [number, number, number, number]): () => number {
  let [a, b, c, d] = state;
  return () => {
    const result = Math.imul(rotateLeft(Math.imul(b, 5), 7), 9) >>> 0;
    const t = b << 9;
    c ^= a;
    d ^= b;
    b ^= c;
    a ^= d;
    c ^= t;
    d = rotateLeft(d, 11);
    return result;
  };
}

/** State for `xoshiro128` from any integers. MurmurHash3's 32-bit finaliser mixes them into four initial values. */
export function xoshiroState(words: readonly number[]): [number, number, number, number] {
  const mix = (start: number) => words.reduce((hash, word) => murmurFinalise(hash ^ word), start);
  return [mix(0x9e3779b9), mix(0x3c6ef372), mix(0xdaa66d2b), mix(0x78dde6e4)];
}

/**
 * A uniform integer from 0 to `limit - 1`.
 *
 * @param limit from 1 to 2^32
 * @param next returns uniform 32-bit integers; called again if a draw would bias the result
 */
export function randomBelow(limit: number, next: () => number): number {
  const biased = 2 ** 32 % limit;
  for (;;) {
    const draw = next();
    if (draw >= biased) return draw % limit;
  }
}

/**
 * 32 random bits: number `index` of a key. A counter-based generator: the numbers of a key are those of SplitMix with an increment of its
 * own, and the mixing function is C. Wellons' lowbias32 (public domain). Native code has the same
 * (packages/tensorflow/native/elementwise/random.h).
 */
export function randomBits(key: number, index: number): number {
  const increment = mixBits(key ^ 0x5bd1e995) | 1;
  return mixBits((key + Math.imul(index, increment)) | 0);
}

function mixBits(x: number): number {
  x = Math.imul(x ^ (x >>> 16), 0x7feb352d);
  x = Math.imul(x ^ (x >>> 15), 0x846ca68b);
  return (x ^ (x >>> 16)) >>> 0;
}

export const rotateLeft = (x: number, by: number) => (x << by) | (x >>> (32 - by));

/** MurmurHash3's 32-bit finaliser: each input bit changes about half of the output bits. */
export function murmurFinalise(h: number): number {
  h ^= h >>> 16;
  h = Math.imul(h, 0x85ebca6b);
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
