import fc from 'fast-check';
import type { Answer } from './tensors';

/** A row of logits, and the token that was written there. */
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

/** What a policy says of an answer, worked out in doubles. */
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
