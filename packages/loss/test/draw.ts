// The random batches that fixtures/make-loss-fixtures.py draws, from the same numbers in the same order.

function mulberry32(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t = (t ^ (t + Math.imul(t ^ (t >>> 7), t | 61))) >>> 0;
    return (t ^ (t >>> 14)) >>> 0;
  };
}

export interface DrawnAnswer {
  /** Token by token. */
  readonly logps: number[];
  readonly logSumSquares: number[];
  readonly logMax: number[];
  /** log π(y) and log π_ref(y). */
  readonly logp: number;
  readonly reference: number;
}

export interface DrawnPair {
  readonly weight: number;
  readonly chosen: DrawnAnswer;
  readonly rejected: DrawnAnswer;
}

export function draw(batch: number) {
  const next = mulberry32(batch);
  const below = (n: number) => next() % n;
  const options = {
    beta: (1 + below(64)) / 32,
    labelSmoothing: (1 + below(15)) / 32,
    discopopTau: (1 + below(8)) / 16,
    simpoGamma: below(65) / 64,
    cpoAlpha: below(65) / 32,
    desirableWeight: (1 + below(64)) / 32,
    undesirableWeight: (1 + below(64)) / 32,
    bcoDelta: (below(65) - 32) / 64,
    kl: below(129) / 64,
    fAlphaDivergenceCoef: below(64) / 32,
    temperature: (8 + below(32)) / 16,
    alpha: below(17) / 16,
  };
  const answer = (): DrawnAnswer => {
    const tokens = Array.from({ length: 1 + below(12) }, () => ({
      logp: -(1 + below(256)) / 64,
      logSumSquares: -below(256) / 64,
      logMax: -below(128) / 64,
    }));
    const logp = tokens.reduce((sum, token) => sum + token.logp, 0);
    return {
      logps: tokens.map((token) => token.logp),
      logSumSquares: tokens.map((token) => token.logSumSquares),
      logMax: tokens.map((token) => token.logMax),
      logp,
      reference: Math.min(logp + (below(513) - 256) / 64, -1 / 64),
    };
  };
  const pairs: DrawnPair[] = Array.from({ length: 1 + below(6) }, () => ({
    weight: (1 + below(64)) / 64,
    chosen: answer(),
    rejected: answer(),
  }));
  return { options, pairs };
}

export type Drawn = ReturnType<typeof draw>;

/** A batch in columns, by the names of the inputs of both implementations. */
export function columns(pairs: readonly DrawnPair[]) {
  return {
    chosenLogps: pairs.map((pair) => pair.chosen.logp),
    rejectedLogps: pairs.map((pair) => pair.rejected.logp),
    refChosenLogps: pairs.map((pair) => pair.chosen.reference),
    refRejectedLogps: pairs.map((pair) => pair.rejected.reference),
    chosenLengths: pairs.map((pair) => pair.chosen.logps.length),
    rejectedLengths: pairs.map((pair) => pair.rejected.logps.length),
    weights: pairs.map((pair) => pair.weight),
  };
}
