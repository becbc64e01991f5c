import fc from 'fast-check';
import { lossTypes } from '../src/index';
import type { Answer } from './tensors';

/** A row of logits and the label at its position. */
export interface Position {
  logits: number[];
  label: number;
}

const position = (vocabulary: number, logit: fc.Arbitrary<number>): fc.Arbitrary<Position> =>
  fc.record({
    logits: fc.array(logit, { minLength: vocabulary, maxLength: vocabulary }),
    label: fc.nat(vocabulary - 1),
  });

export const ordinaryLogit = fc.double({ min: -6, max: 6, noNaN: true });

/** Answers of 1 to 5 tokens over a vocabulary of 4. */
export const answerPositions = (logit = ordinaryLogit): fc.Arbitrary<Position[]> =>
  fc.array(position(4, logit), { minLength: 1, maxLength: 5 });

/** The terms of one token, computed in float64. */
export function describe({ logits, label }: Position): { logp: number; logSumSquares: number; logMax: number } {
  const top = Math.max(...logits);
  const exps = logits.map((x) => Math.exp(x - top));
  const sum = exps.reduce((a, b) => a + b, 0);
  const squares = exps.reduce((a, b) => a + b * b, 0);
  return {
    logp: logits[label]! - top - Math.log(sum),
    logSumSquares: Math.log(squares) - 2 * Math.log(sum),
    logMax: -Math.log(sum),
  };
}

export const answer: fc.Arbitrary<Answer> = answerPositions().map((positions) => {
  const tokens = positions.map(describe);
  return {
    logps: tokens.map((token) => token.logp),
    logSumSquares: tokens.map((token) => token.logSumSquares),
    logMax: tokens.map((token) => token.logMax),
  };
});

export const pairs = fc.array(fc.record({ chosen: answer, rejected: answer }), { minLength: 1, maxLength: 5 });

const logp = fc.double({ min: -60, max: 0, noNaN: true }).map(Math.fround);

/** Sequence log-probs under policy and reference, and a weight. */
export const scoredPairs = fc.array(
  fc.record({
    chosen: logp,
    rejected: logp,
    refChosen: logp,
    refRejected: logp,
    weight: fc.double({ min: 2 ** -20, max: 1, noNaN: true }).map(Math.fround),
  }),
  { minLength: 1, maxLength: 6 },
);

export const beta = fc.double({ min: 0.001, max: 5, noNaN: true });
export const labelSmoothing = fc.double({ min: 0, max: 0.5, noNaN: true });

/** A batch in columns with every input that a loss may need. Its log-probs are exact in float32. */
export const batch = fc
  .array(
    fc.record({
      chosen: logpOf(),
      rejected: logpOf(),
      ratioW: ratio(),
      ratioL: ratio(),
      chosenLength: fc.integer({ min: 1, max: 20 }),
      rejectedLength: fc.integer({ min: 1, max: 20 }),
      weight: fc.integer({ min: 0, max: 128 }).map((x) => x / 64),
    }),
    { minLength: 1, maxLength: 5 },
  )
  .chain((rows) =>
    fc.integer({ min: 0, max: 128 }).map((kl) => ({
      chosenLogps: rows.map((row) => row.chosen),
      rejectedLogps: rows.map((row) => row.rejected),
      refChosenLogps: rows.map((row) => Math.min(row.chosen - row.ratioW, 0)),
      refRejectedLogps: rows.map((row) => Math.min(row.rejected - row.ratioL, 0)),
      chosenLengths: rows.map((row) => row.chosenLength),
      rejectedLengths: rows.map((row) => row.rejectedLength),
      weights: rows.map((row) => row.weight),
      kl: kl / 64,
    })),
  );

function logpOf() {
  return fc.integer({ min: 1, max: 60 * 64 }).map((x) => -x / 64);
}

function ratio() {
  return fc.integer({ min: -4 * 64, max: 4 * 64 }).map((x) => x / 64);
}

/** Options within the ranges of every loss. */
export const lossOptions = fc.record({
  beta: fc.double({ min: 0.05, max: 2, noNaN: true }),
  labelSmoothing: fc.double({ min: 0.01, max: 0.45, noNaN: true }),
  discopopTau: fc.double({ min: 0.05, max: 0.9, noNaN: true }),
  simpoGamma: fc.double({ min: 0, max: 2, noNaN: true }),
  cpoAlpha: fc.double({ min: 0, max: 2, noNaN: true }),
  desirableWeight: fc.double({ min: 0, max: 2, noNaN: true }),
  undesirableWeight: fc.double({ min: 0, max: 2, noNaN: true }),
  bcoDelta: fc.double({ min: -2, max: 2, noNaN: true }),
});

/** One to three losses, each with a weight. */
export const mixture = fc
  .array(
    fc.record({
      lossType: fc.constantFrom(...lossTypes()),
      lossWeight: fc.double({ min: -1, max: 2, noNaN: true }),
    }),
    { minLength: 1, maxLength: 3 },
  )
  .map((parts) => ({
    lossType: parts.map(({ lossType }) => lossType),
    lossWeights: parts.map(({ lossWeight }) => lossWeight),
  }));
