import { sequenceLogits } from '../src/generate';
import type { Gemma2 } from '../src/model';

/**
 * For each token of an answer, how far its logit is below the largest one, by a full forward pass over the portable kernels: 0
 * for the most likely token, rounding for one as likely.
 */
export async function logitGaps(model: Gemma2, prompt: readonly number[], answer: readonly number[]) {
  const { vocabSize } = model.config;
  const whole = await sequenceLogits(model, [...prompt, ...answer]);
  return answer.map((token, t) => {
    const row = prompt.length + t - 1; // the row that predicts the token
    const logits = whole.subarray(row * vocabSize, (row + 1) * vocabSize);
    return Math.max(...logits) - logits[token]!;
  });
}
