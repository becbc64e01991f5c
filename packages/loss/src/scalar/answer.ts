import { type Alignment, TERMS } from '../alignment';
import { column } from '../column';
import { checkName } from '../nearest';
import { checkRange } from '../range';
import { product, sum } from './numbers';

/** One answer under the policy, token by token; no padding. */
export interface AnswerTokens {
  /** log p of each token. */
  logps: ArrayLike<number>;
  /** log Σ_v p_v² at each token's position: needed by the `sampled` alignment. */
  logSumSquares?: ArrayLike<number>;
  /** log max_v p_v at each token's position: needed by the `greedy` alignment. */
  logMax?: ArrayLike<number>;
}

/** Both answers of a pair; their lengths may differ. */
export interface PairTokens {
  chosen: AnswerTokens;
  rejected: AnswerTokens;
}

/** log π(y): the sum of an answer's token log-probs. @throws where there are no tokens or a log-prob is none. */
export const sumLogps = ({ logps }: AnswerTokens): number => sum(column('sumLogps', 'logps', logps));

/**
 * s(y) = mean_t(l_t − a_t) over an answer's tokens: its length-normalised log-probability, aligned (arXiv 2406.11827,
 * "weight alignment").
 *
 * @throws where there are no tokens, a log-prob is none, the alignment is unknown or its term is missing.
 */
export const answerScores = (tokens: AnswerTokens, alignment: Alignment = 'sampled'): number =>
  answerScore('answerScores', '', tokens, alignment);

export function answerScore(where: string, path: string, tokens: AnswerTokens, alignment: Alignment): number {
  checkName(where, 'alignment', alignment, Object.keys(TERMS));
  const logps = column(where, `${path}logps`, tokens.logps);
  const name = TERMS[alignment];
  const terms = name ? column(where, path + name, tokens[name], false, logps.length) : [];
  return (sum(logps) - sum(terms)) / logps.length;
}

/**
 * LD-DPO's log-probs (arXiv 2409.06411): of the longer answer, tokens past the shorter one's length count α times. To be
 * taken of the policy and of the reference alike, in place of `sumLogps`.
 *
 * @param alpha 0 (tokens past the shared length count nothing) to 1 (`sumLogps`).
 */
export function ldLogps({ chosen, rejected }: PairTokens, alpha: number): { chosen: number; rejected: number } {
  const c = column('ldLogps', 'chosen.logps', chosen.logps);
  const r = column('ldLogps', 'rejected.logps', rejected.logps);
  const weights = ldWeights('ldLogps', c.length, r.length, alpha);
  const sumOf = (logps: readonly number[], coefficients: Float64Array) =>
    sum(logps.map((logp, t) => product(logp, coefficients[t]!)));
  return { chosen: sumOf(c, weights.chosen), rejected: sumOf(r, weights.rejected) };
}

/**
 * The coefficient of each token's log-prob in `ldLogps`, which is also the derivative of the sum by that log-prob: 1 up to
 * the shorter answer's length, α past it. With α 1 they are those of `sumLogps`: 1 for every token.
 *
 * @param alpha 0 to 1.
 */
export const ldTokenWeights = (
  chosenLength: number,
  rejectedLength: number,
  alpha: number,
): { chosen: Float64Array; rejected: Float64Array } => ldWeights('ldTokenWeights', chosenLength, rejectedLength, alpha);

function ldWeights(where: string, chosenLength: number, rejectedLength: number, alpha: number) {
  checkRange(where, 'alpha', alpha, [0, 1]);
  const shared = Math.min(chosenLength, rejectedLength);
  const ofAnswer = (length: number) => new Float64Array(length).fill(1).fill(alpha, shared);
  return { chosen: ofAnswer(chosenLength), rejected: ofAnswer(rejectedLength) };
}
