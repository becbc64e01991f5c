import type { Message } from '@wpo/data';
import type { NamedPrompt } from '@wpo/eval';
import { type FileRow, readRowsFile } from '@wpo/eval/node';
import { shortHash } from '@wpo/internal/node/hash';
import { UserError } from '../errors';
import { describeValue } from '../schemas/yaml-config';

/** Text, or the messages of a conversation. */
export type Prompt = NamedPrompt['prompt'];

/**
 * Reads prompts from a JSONL file of `{"prompt": text}` or `{"prompt": [{role, content}, …]}`. Other fields and blank lines
 * are ignored.
 *
 * @throws {UserError} naming file and line
 */
export const readPrompts = async (path: string): Promise<Prompt[]> =>
  (await readNamedPrompts(path)).map(({ prompt }) => prompt);

/**
 * Reads prompts with their ids: `prompt_id`, else `id`, else a hash of the prompt, so that the same prompt has the same id
 * in every file.
 *
 * @throws {UserError} naming file and line
 */
export async function readNamedPrompts(path: string): Promise<NamedPrompt[]> {
  const prompts: NamedPrompt[] = [];
  for await (const row of readRowsFile(path, 'prompts')) prompts.push(namedPrompt(row));
  if (prompts.length === 0) throw new UserError(`${path}: expected at least one prompt, found none.`);
  return prompts;
}

function namedPrompt({ row, at }: FileRow): NamedPrompt {
  const { prompt, prompt_id, id } = (typeof row === 'object' && row !== null ? row : {}) as Record<string, unknown>;
  if (!isPrompt(prompt)) {
    const found = prompt === undefined ? 'nothing' : describeValue(prompt);
    throw new UserError(
      `${at}: prompt: expected text or a list of {"role": …, "content": …} that is not empty, found ${found}.`,
    );
  }
  const found = prompt_id ?? id ?? shortHash(prompt);
  if (typeof found === 'string' || typeof found === 'number') return { prompt_id: String(found), prompt };
  throw new UserError(`${at}: prompt_id: expected text or a number, found ${describeValue(found)}.`);
}

const isPrompt = (prompt: unknown): prompt is Prompt =>
  Array.isArray(prompt) ? prompt.length > 0 && prompt.every(isMessage) : typeof prompt === 'string' && prompt !== '';

const isMessage = (turn: unknown): turn is Message => {
  const { role, content } = (turn ?? {}) as Partial<Message>;
  return typeof role === 'string' && typeof content === 'string';
};
