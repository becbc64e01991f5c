import * as tf from '@tensorflow/tfjs-core';
import { checkFloats, checkShape } from './check-tensors';
import { checkName, checkRange } from './checks';
import { differentiable, divideByConstant, mul, sub } from './ops';
import { ALIGNMENT_TERMS, type Alignment } from './options';

// B: pairs, T: tokens of the longest answer.

/**
 * One answer per row, token by token, under the policy. Values at padding are never read: NaN and infinities there affect
 * neither values nor gradients.
 */
export interface AnswerTokens {
  /** log p of each token, `[B, T]`, float32. */
  logps: tf.Tensor2D;
  /** log Σ_v p_v² at each token's position, `[B, T]`: needed by the `sampled` alignment. */
  logSumSquares?: tf.Tensor2D;
  /** log max_v p_v at each token's position, `[B, T]`: needed by the `greedy` alignment. */
  logMax?: tf.Tensor2D;
  /** `[B, T]`, any dtype: 1 (true) on the answer's tokens, 0 on padding. At least one 1 per row. */
  mask: tf.Tensor;
}

/** Both answers of each pair. Their lengths may differ; the number of pairs may not. */
export interface PairTokens {
  chosen: AnswerTokens;
  rejected: AnswerTokens;
}

/** log π of both answers of each pair, each `[B]`. */
export type PairLogps = {
  chosen: tf.Tensor1D;
  rejected: tf.Tensor1D;
};

/**
 * log π(y): the sum of an answer's token log-probs.
 *
 * @returns `[B]`, differentiable in `tokens.logps`; the caller's to dispose.
 * @throws where shapes do not match or there are no tokens.
 */
export function sumLogps(tokens: AnswerTokens): tf.Tensor1D {
  checkAnswer('sumLogps', '', tokens, 'none');
  return sumOverAnswer(tokens.logps, tokens.mask);
}

/**
 * LD-DPO's log-probs (arXiv 2409.06411): in the longer answer, the log-probs of tokens past the shorter answer's length are
 * multiplied by α. Use it in place of `sumLogps`, for the policy and for the reference alike.
 *
 * @param alpha 0 (tokens past the shorter length are ignored) to 1 (the same as `sumLogps`).
 * @returns each `[B]`, differentiable in both answers' `logps`; the caller's to dispose.
 */
export function ldLogps(pair: PairTokens, alpha: number): PairLogps {
  checkRange('ldLogps', 'alpha', alpha, { min: 0, max: 1 });
  const { chosen, rejected } = pair;
  checkPair('ldLogps', pair, 'none');
  return tf.tidy(() => {
    const shared = tf.expandDims(tf.minimum(lengths(chosen), lengths(rejected)), 1); // [B, 1]
    const ofAnswer = (tokens: AnswerTokens) => {
      const position = tf.cumsum(tf.cast(tokens.mask, 'float32'), 1); // [B, T], 1 at an answer's first token
      const factors = tf.where<tf.Tensor2D>(tf.lessEqual(position, shared), 1, alpha);
      return sumLogps({ ...tokens, logps: mul(tokens.logps, factors) });
    };
    return { chosen: ofAnswer(chosen), rejected: ofAnswer(rejected) };
  });
}

/**
 * s(y) = mean_t(l_t − a_t) over an answer's tokens: its length-normalized log-probability, aligned (arXiv 2406.11827,
 * "weight alignment"). A row whose mask is all 0 has the score NaN; `checkLogps` finds such rows beforehand.
 *
 * @returns `[B]`, differentiable in `tokens.logps` and the alignment's term; the caller's to dispose.
 * @throws where shapes do not match, there are no tokens, the alignment is unknown or its term is missing.
 */
export function answerScores(tokens: AnswerTokens, alignment: Alignment = 'sampled'): tf.Tensor1D {
  const term = checkAnswer('answerScores', '', tokens, alignment);
  return tf.tidy(() => {
    const { logps, mask } = tokens;
    const aligned = term ? sub(logps, term) : logps; // [B, T]
    return divideByConstant(sumOverAnswer(aligned, mask), lengths(tokens));
  });
}

/** |y| of each answer, `[B]`. */
const lengths = ({ mask }: AnswerTokens): tf.Tensor1D => tf.sum(tf.cast(tf.cast(mask, 'bool'), 'float32'), 1);

/** The sum of `x` over each answer's tokens, `[B]`. Padding is not read. */
function sumOverAnswer(x: tf.Tensor2D, mask: tf.Tensor): tf.Tensor1D {
  return differentiable(
    [x],
    (save) => {
      const answer = tf.cast(mask, 'bool');
      save([answer]);
      return tf.sum<tf.Tensor1D>(tf.where(answer, x, 0), 1);
    },
    (dy, [answer]) => [tf.where(answer!, tf.expandDims(dy, 1), 0)],
  );
}

/** Checks an answer's shapes, and returns the alignment's term, if it has one. */
function checkAnswer(where: string, path: string, tokens: AnswerTokens, alignment: Alignment): tf.Tensor2D | undefined {
  checkName(where, 'alignment', alignment, Object.keys(ALIGNMENT_TERMS));
  checkFloats(where, `${path}logps`, tokens.logps, 'pairs, tokens');
  checkShape(where, `${path}mask`, tokens.mask, tokens.logps.shape);
  const name = ALIGNMENT_TERMS[alignment];
  if (!name) return undefined;
  const term = tokens[name];
  if (!term) throw new Error(`${where}: ${path}${name}: expected a tensor for alignment '${alignment}', found none.`);
  checkFloats(where, path + name, term, tokens.logps.shape);
  return term;
}

/** Checks the shapes of both answers, and returns the alignment's terms, if it has any. */
export function checkPair(where: string, { chosen, rejected }: PairTokens, alignment: Alignment): tf.Tensor2D[] {
  const terms = [
    checkAnswer(where, 'chosen.', chosen, alignment),
    checkAnswer(where, 'rejected.', rejected, alignment),
  ];
  const [c, r] = [chosen.logps.shape[0], rejected.logps.shape[0]];
  if (c !== r) throw new Error(`${where}: rejected: expected ${c} answers, as many as chosen, found ${r}.`);
  return terms.filter((term) => term !== undefined);
}
