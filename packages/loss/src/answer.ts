import * as tf from '@tensorflow/tfjs-core';
import { type Alignment, TERMS } from './alignment';
import { checkFloats, checkShape } from './checks';
import { differentiable } from './gradient';
import { checkName } from './nearest';
import { over, sub } from './ops';

// B: pairs, T: tokens of the longest answer.

/**
 * One answer a row, token by token, under the policy. What lies at padding is never looked at: NaN and infinities there
 * reach neither values nor gradients.
 */
export interface AnswerTokens {
  /** log p of each token, `[B, T]`, float32. */
  logps: tf.Tensor2D;
  /** log Σ_v p_v² at each token's position, `[B, T]`: needed by the `sampled` alignment. */
  logSumSquares?: tf.Tensor2D;
  /** log max_v p_v at each token's position, `[B, T]`: needed by the `greedy` alignment. */
  logMax?: tf.Tensor2D;
  /** `[B, T]`, any dtype: 1 (true) on the answer's tokens, 0 on padding. At least one 1 a row. */
  mask: tf.Tensor;
}

/** Both answers of each pair; their lengths may differ, the number of pairs may not. */
export interface PairTokens {
  chosen: AnswerTokens;
  rejected: AnswerTokens;
}

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
 * s(y) = mean_t(l_t − a_t) over an answer's tokens: its length-normalised log-probability, aligned (arXiv 2406.11827,
 * "weight alignment"). A row whose mask is all 0 scores NaN; `checkLogps` finds it beforehand.
 *
 * @returns `[B]`, differentiable in `tokens.logps` and the alignment's term; the caller's to dispose.
 * @throws where shapes do not match, there are no tokens, the alignment is unknown or its term is missing.
 */
export function answerScores(tokens: AnswerTokens, alignment: Alignment = 'sampled'): tf.Tensor1D {
  const term = checkAnswer('answerScores', '', tokens, alignment);
  return tf.tidy(() => {
    const { logps, mask } = tokens;
    const aligned = term ? sub(logps, term) : logps; // [B, T]
    return over(sumOverAnswer(aligned, mask), lengths(tokens));
  });
}

/** |y| of each answer, `[B]`. */
export const lengths = ({ mask }: AnswerTokens): tf.Tensor1D => tf.sum(tf.cast(tf.cast(mask, 'bool'), 'float32'), 1);

/** The sum of `x` over each answer's tokens, `[B]`, deaf to padding. */
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

/** Refuses an answer that cannot be scored; returns the alignment's term, if it has one. */
function checkAnswer(where: string, path: string, tokens: AnswerTokens, alignment: Alignment): tf.Tensor2D | undefined {
  checkName(where, 'alignment', alignment, Object.keys(TERMS));
  checkFloats(where, `${path}logps`, tokens.logps, 'pairs, tokens');
  checkShape(where, `${path}mask`, tokens.mask, tokens.logps.shape);
  const name = TERMS[alignment];
  if (!name) return undefined;
  if (!tokens[name]) throw new Error(`${where}: ${path}${name} is missing, and alignment '${alignment}' needs it.`);
  checkFloats(where, path + name, tokens[name], tokens.logps.shape);
  return tokens[name];
}

/** Refuses pairs that cannot be scored; returns the alignment's terms, if it has any. */
export function checkPair(where: string, { chosen, rejected }: PairTokens, alignment: Alignment): tf.Tensor2D[] {
  const terms = [
    checkAnswer(where, 'chosen.', chosen, alignment),
    checkAnswer(where, 'rejected.', rejected, alignment),
  ];
  const [c, r] = [chosen.logps.shape[0], rejected.logps.shape[0]];
  if (c !== r) {
    throw new Error(`${where}: chosen has ${c} answers and rejected has ${r}, but a pair is one of each.`);
  }
  return terms.filter((term) => term !== undefined);
}
