import * as tf from '@tensorflow/tfjs-core';
import { checkFloats, checkShape } from './checks';
import { differentiable } from './gradient';
import { nearest } from './nearest';

// B: pairs, T: tokens of the longest answer.

/**
 * What a token's log-probability is measured against, so that what the policy itself would write weighs about 1 however
 * sure the policy is: `sampled`, log Σ_v p_v², the log of a sampled token's expected probability (the paper's choice);
 * `greedy`, log max_v p_v, the likeliest token's; `none`, 0.
 */
export type Alignment = 'sampled' | 'greedy' | 'none';

const ALIGNMENTS: readonly Alignment[] = ['sampled', 'greedy', 'none'];

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

/**
 * log π(y): the sum of an answer's token log-probs.
 *
 * @returns `[B]`, differentiable in `tokens.logps`; the caller's to dispose.
 * @throws where shapes do not match or there are no tokens.
 */
export function sumLogps(tokens: AnswerTokens): tf.Tensor1D {
  checkAnswer('sumLogps', '', tokens, 'none');
  const { logps } = tokens;
  return differentiable(
    [logps],
    (save) => {
      const mask = tf.cast(tokens.mask, 'bool');
      save([mask]);
      return tf.sum<tf.Tensor1D>(tf.where(mask, logps, 0), 1);
    },
    (dy, [mask]) => [tf.where(mask!, tf.expandDims(dy, 1), 0)],
  );
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
  const { logps } = tokens;
  return differentiable(
    term ? [logps, term] : [logps],
    (save) => {
      const mask = tf.cast(tokens.mask, 'bool');
      const lengths = tf.sum(tf.cast(mask, 'float32'), 1, true); // [B, 1]
      save([mask, lengths]);
      const aligned = tf.where(mask, term ? tf.sub(logps, term) : logps, 0); // [B, T]
      return tf.squeeze<tf.Tensor1D>(tf.div(tf.sum(aligned, 1, true), lengths), [1]);
    },
    (dy, [mask, lengths]) => {
      const gradient = tf.where(mask!, tf.div(tf.expandDims(dy, 1), lengths!), 0); // [B, T]
      return term ? [gradient, tf.neg(gradient)] : [gradient];
    },
  );
}

/** Refuses an answer that cannot be scored; returns the alignment's term, if it has one. */
export function checkAnswer(
  where: string,
  path: string,
  tokens: AnswerTokens,
  alignment: Alignment,
): tf.Tensor2D | undefined {
  const known: readonly string[] = ALIGNMENTS;
  if (!known.includes(alignment)) {
    const meant = nearest(String(alignment), ALIGNMENTS);
    throw new Error(`${where}: unknown alignment '${alignment}'. Did you mean '${meant}'? Known: ${known.join(', ')}.`);
  }
  checkFloats(where, `${path}logps`, tokens.logps, 'pairs, tokens');
  checkShape(where, `${path}mask`, tokens.mask, tokens.logps.shape);
  if (alignment === 'none') return undefined;
  const name = alignment === 'sampled' ? 'logSumSquares' : 'logMax';
  const term = tokens[name];
  if (term === undefined) {
    throw new Error(
      `${where}: ${path}${name} is missing, and alignment '${alignment}' needs it. ` +
        `Compute it with tokenTerms(logits, labels, mask), or choose alignment 'none'.`,
    );
  }
  checkFloats(where, `${path}${name}`, term, tokens.logps.shape);
  return term;
}
