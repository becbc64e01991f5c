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
  let most = logits[0]!;
  for (let i = 1; i < logits.length; i++) {
    if (!(logits[i]! > most)) continue;
    most = logits[i]!;
    best = i;
  }
  return best;
}

/**
 * Draws a token: temperature, then top-k, then top-p, as transformers orders them (generation/logits_process.py).
 * `random` gives numbers in [0, 1).
 */
export function sampleToken(
  logits: Float32Array,
  { temperature = 0, topK = logits.length, topP = 1 }: SamplingOptions,
  random: () => number,
): number {
  const likeliest = argMax(logits);
  if (temperature === 0) return likeliest;
  const peak = logits[likeliest]!;
  const weights = new Float64Array(logits.length); // relative to the likeliest
  for (let id = 0; id < logits.length; id++) weights[id] = Math.exp((logits[id]! - peak) / temperature);
  if (topK >= logits.length && topP >= 1) return draw(weights, random() * sumOf(weights));

  const all = topK < logits.length ? undefined : sumOf(weights);
  let kept = likeliestFirst(logits, peak, temperature, (ids) =>
    all === undefined ? ids.length >= topK : sumOf(weights, ids) >= topP * all,
  ).subarray(0, topK);
  if (topP < 1) {
    const total = all ?? sumOf(weights, kept);
    let reached = 0;
    let count = 0;
    while (count < kept.length && reached < topP * total) reached += weights[kept[count++]!]!;
    kept = kept.subarray(0, count);
  }
  const keptWeights = Float64Array.from(kept, (id) => weights[id]!);
  return kept[draw(keptWeights, random() * sumOf(keptWeights))]!;
}

/** The index at which weights added up pass `mark`. */
function draw(weights: Float64Array, mark: number): number {
  let left = mark;
  for (let i = 0; i < weights.length; i++) {
    left -= weights[i]!;
    if (left < 0) return i;
  }
  return weights.length - 1; // rounding left nothing over
}

/**
 * Ids by falling logit, equal ones by rising id, at least so many from the first on as are `enough`. A vocabulary has
 * 256,000 tokens of which a few hundred matter: those near the peak are looked for before any are sorted.
 */
function likeliestFirst(
  logits: Float32Array,
  peak: number,
  temperature: number,
  enough: (ids: Uint32Array) => boolean,
): Uint32Array {
  for (let depth = 8; ; depth = depth < 1000 ? 2 * depth : Number.POSITIVE_INFINITY) {
    const least = peak - depth * temperature; // a token below it weighs less than e to the −depth
    let count = 0;
    for (let id = 0; id < logits.length; id++) if (logits[id]! >= least) count++;
    const ids = new Uint32Array(count);
    for (let id = 0, next = 0; next < count; id++) if (logits[id]! >= least) ids[next++] = id;
    if (depth < Number.POSITIVE_INFINITY && !enough(ids)) continue;
    return ids.sort((a, b) => logits[b]! - logits[a]! || a - b);
  }
}

function sumOf(weights: Float64Array, ids?: Uint32Array): number {
  let sum = 0;
  if (ids) for (const id of ids) sum += weights[id]!;
  else for (const weight of weights) sum += weight;
  return sum;
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
