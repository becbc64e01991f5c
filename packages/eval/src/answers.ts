import type { Message } from '@wpo/data';

/** A prompt and its name. */
export interface NamedPrompt {
  /** One name for one prompt, whatever file it comes from. */
  readonly prompt_id: string;
  /** Text, which is one user turn, or the turns of a conversation. */
  readonly prompt: string | readonly Message[];
}

/** An answer to a prompt, and who gave it. Other fields may stand beside these, and are kept. */
export interface AnswerRow extends NamedPrompt {
  readonly completion: string;
  /** The model's name, or that of whatever else the answer is from. */
  readonly source: string;
  /** What decided the draws; absent where the source has none. */
  readonly seed?: number;
  /** `length` where the limit of tokens cut the answer off. */
  readonly finish_reason?: 'stop' | 'length';
}

/** An answer with how good it is: more is better. */
export type Scored<A extends AnswerRow = AnswerRow> = A & { readonly score: number };

/** What tells an answer from all others: its prompt, its source and its seed. */
export const answerKey = ({ prompt_id, source, seed }: Pick<AnswerRow, 'prompt_id' | 'source' | 'seed'>): string =>
  JSON.stringify([prompt_id, source, seed ?? null]);

/** A prompt's turns. */
export const promptMessages = (prompt: NamedPrompt['prompt']): readonly Message[] =>
  typeof prompt === 'string' ? [{ role: 'user', content: prompt }] : prompt;

/** A prompt as one text: a single turn as it is, several turns with their roles. */
export function promptText(prompt: NamedPrompt['prompt']): string {
  const turns = promptMessages(prompt);
  return turns.length === 1 ? turns[0]!.content : turns.map(({ role, content }) => `${role}: ${content}`).join('\n\n');
}
