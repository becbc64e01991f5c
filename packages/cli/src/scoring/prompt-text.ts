import { type NamedPrompt, promptMessages } from '@wpo/data';

/** A prompt as one text: a single turn as it is, several with their roles. */
export function promptText(prompt: NamedPrompt['prompt']): string {
  const turns = promptMessages(prompt);
  return turns.length === 1 ? turns[0]!.content : turns.map(({ role, content }) => `${role}: ${content}`).join('\n\n');
}
