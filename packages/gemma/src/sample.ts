/** How the next token is picked from logits. */
export interface SamplingOptions {
  /** 0 picks the likeliest token; above it, logits are divided by it. Default 0. */
  readonly temperature?: number;
  /** Keep the k likeliest tokens only. */
  readonly topK?: number;
  /** Keep the fewest likeliest tokens whose probabilities reach p, 0 < p ≤ 1. */
  readonly topP?: number;
}

/** Throws where an option is outside its range. */
export function checkSampling({ temperature = 0, topK, topP }: SamplingOptions): void {
  const wrong = (name: string, found: number, wanted: string) =>
    new RangeError(`${name} is ${found}, wanted ${wanted}`);
  if (!(temperature >= 0 && temperature < Number.POSITIVE_INFINITY)) {
    throw wrong('temperature', temperature, '0 (the likeliest token) or above');
  }
  if (topK !== undefined && !(Number.isInteger(topK) && topK >= 1)) throw wrong('top-k', topK, 'a whole number from 1');
  if (topP !== undefined && !(topP > 0 && topP <= 1)) throw wrong('top-p', topP, 'above 0 and at most 1');
}

/** Index of the first largest value. */
export function argMax(logits: Float32Array): number {
  let best = 0;
  for (let i = 1; i < logits.length; i++) if (logits[i]! > logits[best]!) best = i;
  return best;
}

/**
 * Draws a token: temperature, then top-k, then top-p, as transformers orders them (generation/logits_process.py).
 * `random` gives numbers in [0, 1).
 */
export function sampleToken(
  logits: Float32Array,
  { temperature = 0, topK, topP }: SamplingOptions,
  random: () => number,
): number {
  if (temperature === 0) return argMax(logits);
  const peak = logits[argMax(logits)]!;
  const weight = (id: number) => Math.exp((logits[id]! - peak) / temperature); // relative to the likeliest
  const ids = Uint32Array.from(logits, (_, id) => id);
  const cutting = topK !== undefined || (topP !== undefined && topP < 1);
  if (cutting) ids.sort((a, b) => logits[b]! - logits[a]! || a - b);
  let kept = topK === undefined ? ids : ids.subarray(0, topK);
  let total = kept.reduce((sum, id) => sum + weight(id), 0);
  if (topP !== undefined && topP < 1) {
    let reached = 0;
    let count = 0;
    while (count < kept.length && reached < topP * total) reached += weight(kept[count++]!);
    kept = kept.subarray(0, count);
    total = reached;
  }
  let left = random() * total;
  for (const id of kept) {
    left -= weight(id);
    if (left < 0) return id;
  }
  return kept.at(-1)!; // rounding left nothing over
}

/** Numbers in [0, 1) from a 32-bit seed: the same on every machine (mulberry32, T. Ettinger, public domain). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
