/** How the next token is chosen from logits. */
export interface SamplingOptions {
  /** Divides the logits. 0 takes the most likely token. Default 0. */
  readonly temperature?: number;
  /** Samples only from the k most likely tokens. */
  readonly topK?: number;
  /** Samples only from the smallest set of most likely tokens whose probabilities sum to at least p, 0 < p ≤ 1. */
  readonly topP?: number;
}

/** @throws RangeError for an option outside its range */
export function checkSampling({ temperature = 0, topK, topP }: SamplingOptions): void {
  const refuse = (name: string, expected: string, found: number) =>
    new RangeError(`generate: ${name}: expected ${expected}, found ${found}.`);
  if (!(temperature >= 0 && temperature < Number.POSITIVE_INFINITY)) {
    throw refuse('temperature', '0 (the most likely token) or above', temperature);
  }
  if (topK !== undefined && !(Number.isInteger(topK) && topK >= 1)) {
    throw refuse('topK', 'a whole number of at least 1', topK);
  }
  if (topP !== undefined && !(topP > 0 && topP <= 1)) throw refuse('topP', 'a number above 0 and at most 1', topP);
}

/** Index of the largest value; the first of equal ones. */
export function argMax(logits: Float32Array): number {
  let best = 0;
  let largest = logits[0]!;
  for (let i = 1; i < logits.length; i++) {
    if (!(logits[i]! > largest)) continue;
    largest = logits[i]!;
    best = i;
  }
  return best;
}

/**
 * Samples a token: temperature, then top-k, then top-p, the order of transformers (generation/logits_process.py).
 *
 * @param random returns numbers in [0, 1)
 */
export function sampleToken(
  logits: Float32Array,
  { temperature = 0, topK = logits.length, topP = 1 }: SamplingOptions,
  random: () => number,
): number {
  const best = argMax(logits);
  if (temperature === 0) return best;
  const peak = logits[best]!;
  const weights = new Float64Array(logits.length); // probabilities relative to the most likely token's
  for (let id = 0; id < logits.length; id++) weights[id] = Math.exp((logits[id]! - peak) / temperature);
  if (topK >= logits.length && topP >= 1) return draw(weights, random() * sumOf(weights));

  const all = topK < logits.length ? undefined : sumOf(weights);
  let kept = mostLikely(logits, peak, temperature, (ids) =>
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

/** Returns the first index at which the cumulative weight exceeds `mark`. */
function draw(weights: Float64Array, mark: number): number {
  let left = mark;
  for (let i = 0; i < weights.length; i++) {
    left -= weights[i]!;
    if (left < 0) return i;
  }
  return weights.length - 1; // reached only by rounding
}

/**
 * The most likely token ids, sorted by falling logit and rising id, at least until `enough` holds. A few
 * hundred of 256,000 tokens usually suffice, so this collects the tokens near the peak and sorts only those.
 */
function mostLikely(
  logits: Float32Array,
  peak: number,
  temperature: number,
  enough: (ids: Uint32Array) => boolean,
): Uint32Array {
  for (let depth = 8; ; depth = depth < 1000 ? 2 * depth : Number.POSITIVE_INFINITY) {
    const least = peak - depth * temperature; // tokens with a lower logit have a relative probability below e^−depth
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
