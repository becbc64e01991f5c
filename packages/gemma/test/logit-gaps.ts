import { sequenceLogits } from '../src/generate';
import type { Gemma2 } from '../src/model';

/**
 * Returns how far the logit of each answer token is below the largest logit, computed by one full forward pass with the portable
 * kernels. The gap of the most likely token is 0.
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
