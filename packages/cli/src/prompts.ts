import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import type { Message } from '@wpo/data';
import { UserError } from './errors';

/** What a model is to continue: text, or the turns of a conversation. */
export type Prompt = string | readonly Message[];

/**
 * Reads prompts from a JSONL file of `{"prompt": text}` or `{"prompt": [{role, content}, …]}`; other fields are passed
 * over, and so are blank lines.
 *
 * @throws {UserError} naming file and line
 */
export async function readPrompts(path: string): Promise<Prompt[]> {
  const prompts: Prompt[] = [];
  let line = 0;
  try {
    for await (const text of createInterface({ input: createReadStream(path), crlfDelay: Number.POSITIVE_INFINITY })) {
      line += 1;
      if (text.trim() !== '') prompts.push(parsePrompt(text, `${path}:${line}`));
    }
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === undefined) throw error;
    throw new UserError(
      `${path}: found ${code === 'ENOENT' ? 'no such file' : message}, wanted a JSONL file of prompts.`,
    );
  }
  if (prompts.length === 0) throw new UserError(`${path}: found no prompts, wanted at least one line.`);
  return prompts;
}

function parsePrompt(text: string, at: string): Prompt {
  let row: unknown;
  try {
    row = JSON.parse(text);
  } catch (error) {
    throw new UserError(`${at}: found text that is not JSON (${(error as Error).message}), wanted {"prompt": …}.`);
  }
  const prompt = typeof row === 'object' && row !== null && 'prompt' in row ? row.prompt : undefined;
  if (typeof prompt === 'string' && prompt !== '') return prompt;
  if (Array.isArray(prompt) && prompt.length > 0 && prompt.every(isMessage)) return prompt;
  throw new UserError(`${at}: "prompt": wanted text, or a list of {"role": …, "content": …}, not empty.`);
}

const isMessage = (turn: unknown): turn is Message => {
  const { role, content } = (turn ?? {}) as Partial<Message>;
  return typeof role === 'string' && typeof content === 'string';
};
