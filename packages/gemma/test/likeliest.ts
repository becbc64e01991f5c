import { sequenceLogits } from '../src/generate';
import type { Gemma2 } from '../src/model';

/**
 * How far each token of an answer is from the likeliest after what stands before it, in logits, by a whole pass over the
 * composed operations: 0 for the likeliest, rounding for one as likely.
 */
export async function belowLikeliest(model: Gemma2, prompt: readonly number[], answer: readonly number[]) {
  const { vocabSize } = model.config;
  const whole = await sequenceLogits(model, [...prompt, ...answer]);
  return answer.map((token, t) => {
    const row = prompt.length + t - 1; // whose logits the token was picked by
    const logits = whole.subarray(row * vocabSize, (row + 1) * vocabSize);
    return Math.max(...logits) - logits[token]!;
  });
}
