import type { Message, RowLocation } from '@wpo/data';

/** A prompt and its id. */
export interface NamedPrompt {
  /** The same prompt has the same id in every file. */
  readonly prompt_id: string;
  /** Text, which is one user turn, or the turns of a conversation. */
  readonly prompt: string | readonly Message[];
  /** Its file and line; absent if it is from none. */
  readonly at?: RowLocation;
}

/** An answer to a prompt. Further fields are kept. */
export interface AnswerRow extends NamedPrompt {
  readonly completion: string;
  /** Who wrote the answer, e.g. the model's name. */
  readonly source: string;
  /** Seed of the sampling; absent if the source has none. */
  readonly seed?: number;
  /** `length` if the token limit cut the answer off. */
  readonly finish_reason?: 'stop' | 'length';
}

/** An answer with its score. Higher is better; null if the answer has none. */
export type Scored<A extends AnswerRow = AnswerRow> = A & { readonly score: number | null };

/** Identifies an answer by its prompt, source and seed. */
export const answerKey = ({ prompt_id, source, seed }: Pick<AnswerRow, 'prompt_id' | 'source' | 'seed'>): string =>
  JSON.stringify([prompt_id, source, seed ?? null]);

/** The turns of a prompt. */
export const promptMessages = (prompt: NamedPrompt['prompt']): readonly Message[] =>
  typeof prompt === 'string' ? [{ role: 'user', content: prompt }] : prompt;

/** A prompt as one text: a single turn as it is, several turns with their roles. */
export function promptText(prompt: NamedPrompt['prompt']): string {
  const turns = promptMessages(prompt);
  return turns.length === 1 ? turns[0]!.content : turns.map(({ role, content }) => `${role}: ${content}`).join('\n\n');
}
