import { ControlTokenCount, encodePrompt, type PromptFormat, type SystemRole, type TextOptions } from '@wpo/data';
import { type NamedPrompt, promptMessages } from '@wpo/eval';
import { warnOfControlTokens } from '../pairs';
import type { Terminal } from '../terminal/terminal';

/** A prompt, whatever its id. */
export type Prompt = Omit<NamedPrompt, 'prompt_id'>;

export interface PromptOptions extends TextOptions {
  readonly promptFormat: PromptFormat;
  readonly systemRole: SystemRole;
}

/** Token ids of a prompt for a local model to continue. @throws {RowError} if the chat template rejects it */
export const encode = ({ prompt, at }: Prompt, options: PromptOptions): number[] =>
  encodePrompt(promptMessages(prompt), options, at);

/** Reports prompts that have control tokens in addition to those of the chat template. @param file names the prompts */
export function warnOfRenderedPrompts(
  prompts: Iterable<Prompt>,
  file: string,
  options: PromptOptions,
  terminal: Terminal,
): void {
  const found = new ControlTokenCount(options);
  for (const { prompt, at } of prompts) found.addPrompt(promptMessages(prompt), at);
  warnOfControlTokens(file, found.report(), terminal, 'prompt');
}
