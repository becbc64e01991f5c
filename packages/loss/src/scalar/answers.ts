import { checkName, checkNumbers, checkRange, POSITIVE } from '../checks';
import { ALIGNMENT_TERMS, type Alignment, type WeightNumbers } from '../options';
import { product, sum } from './math';

/** One answer under the policy, token by token, without padding. */
export interface AnswerTokens {
  /** log p of each token. */
  logps: ArrayLike<number>;
  /** log Σ_v p_v² at each token's position: needed by the `sampled` alignment. */
  logSumSquares?: ArrayLike<number>;
  /** log max_v p_v at each token's position: needed by the `greedy` alignment. */
  logMax?: ArrayLike<number>;
}

/** Both answers of a pair. Their lengths may differ. */
export interface PairTokens {
  chosen: AnswerTokens;
  rejected: AnswerTokens;
}

/** log π(y): the sum of an answer's token log-probs. @throws where there are no tokens, or a log-prob is NaN or above 0. */
export const sumLogps = ({ logps }: AnswerTokens): number => sum(checkNumbers('sumLogps', 'logps', logps));

/**
 * s(y) = mean_t(l_t − a_t) over an answer's tokens: its length-normalized log-probability, aligned (arXiv 2406.11827,
 * "weight alignment").
 *
 * @throws where there are no tokens, a log-prob is NaN or above 0, the alignment is unknown or its term is missing.
 */
export const answerScores = (tokens: AnswerTokens, alignment: Alignment = 'sampled'): number =>
  score('answerScores', '', tokens, alignment);

function score(where: string, path: string, tokens: AnswerTokens, alignment: Alignment): number {
  checkName(where, 'alignment', alignment, Object.keys(ALIGNMENT_TERMS));
  const logps = checkNumbers(where, `${path}logps`, tokens.logps);
  const name = ALIGNMENT_TERMS[alignment];
  const terms = name ? checkNumbers(where, path + name, tokens[name], undefined, logps.length) : [];
  return (sum(logps) - sum(terms)) / logps.length;
}

/**
 * The WPO weight of a pair, w = min(1, exp((s(y_w) + s(y_l)) / τ)): near 1 where the policy is likely to generate both
 * answers itself, near 0 where it is not (arXiv 2406.11827).
 *
 * @returns at least 0, and at most 1 unless `clamp` is false.
 * @throws where an answer has no tokens, a log-prob is NaN or above 0, an option is out of range or the alignment's term
 * is missing.
 */
export const wpoWeights = (pair: PairTokens, options: WeightNumbers = {}): number =>
  weigh('wpoWeights', pair, options).weight;

/** A pair's WPO weight, and its derivative by the log-prob of one token: the same for every token of an answer. */
export interface WeightWithGradient {
  readonly weight: number;
  readonly gradient: { readonly chosen: number; readonly rejected: number };
}

/**
 * `wpoWeights` with its gradient, for weights that are `attached`: d w / d l_t = w / (τ |y|) for each token of y, the
 * alignment's term held constant. It is 0 where the clamp lowers the weight to 1, but not where the weight is exactly 1.
 *
 * @throws what `wpoWeights` throws.
 */
export const wpoWeightsWithGradient = (pair: PairTokens, options: WeightNumbers = {}): WeightWithGradient =>
  weigh('wpoWeightsWithGradient', pair, options);

function weigh(where: string, pair: PairTokens, options: WeightNumbers): WeightWithGradient {
  const { alignment = 'sampled', clamp = true, temperature = 1 } = options;
  checkRange(where, 'temperature', temperature, POSITIVE);
  const scoreOf = (side: keyof PairTokens) => score(where, `${side}.`, pair[side], alignment);
  const s = (scoreOf('chosen') + scoreOf('rejected')) / temperature;
  const clamped = clamp && s > 0;
  const weight = clamped ? 1 : Math.exp(s);
  const byToken = (side: keyof PairTokens) => (clamped ? 0 : weight / (temperature * pair[side].logps.length));
  return { weight, gradient: { chosen: byToken('chosen'), rejected: byToken('rejected') } };
}

/**
 * LD-DPO's log-probs (arXiv 2409.06411): in the longer answer, the log-probs of tokens past the shorter answer's length are
 * multiplied by α. Use it in place of `sumLogps`, for the policy and for the reference alike.
 *
 * @param alpha 0 (tokens past the shorter length are ignored) to 1 (the same as `sumLogps`).
 */
export function ldLogps({ chosen, rejected }: PairTokens, alpha: number): { chosen: number; rejected: number } {
  const c = checkNumbers('ldLogps', 'chosen.logps', chosen.logps);
  const r = checkNumbers('ldLogps', 'rejected.logps', rejected.logps);
  const weights = tokenWeights('ldLogps', c.length, r.length, alpha);
  const sumOf = (logps: readonly number[], factors: Float64Array) =>
    sum(logps.map((logp, t) => product(logp, factors[t]!)));
  return { chosen: sumOf(c, weights.chosen), rejected: sumOf(r, weights.rejected) };
}

/**
 * The factor of each token's log-prob in `ldLogps`, which is also the derivative of the sum by that log-prob: 1 up to the
 * shorter answer's length, α past it. With α = 1 they are those of `sumLogps`: 1 for every token.
 *
 * @param alpha 0 to 1.
 */
export const ldTokenWeights = (
  chosenLength: number,
  rejectedLength: number,
  alpha: number,
): { chosen: Float64Array; rejected: Float64Array } =>
  tokenWeights('ldTokenWeights', chosenLength, rejectedLength, alpha);

function tokenWeights(where: string, chosenLength: number, rejectedLength: number, alpha: number) {
  checkRange(where, 'alpha', alpha, { min: 0, max: 1 });
  const shared = Math.min(chosenLength, rejectedLength);
  const ofAnswer = (length: number) => new Float64Array(length).fill(1).fill(alpha, shared);
  return { chosen: ofAnswer(chosenLength), rejected: ofAnswer(rejectedLength) };
}
