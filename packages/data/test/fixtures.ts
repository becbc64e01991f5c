import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Message, PreferenceRow } from '../src/index';

export interface Ids {
  prompt: number[];
  chosen: number[];
  rejected: number[];
}

/** Expected values from transformers, jinja2 and plain Python, made by fixtures/make_reference.py. */
export interface Reference {
  encode: { text: string; ids: number[] }[];
  decode: { ids: number[]; text: string; plain: string }[];
  strip: { text: string; strip: string; lstrip: string; rstrip: string }[];
  stripChars: { text: string; chars: string; strip: string; lstrip: string; rstrip: string }[];
  templates: Record<string, string>;
  chat: { template: string; messages: Message[]; generate: boolean; text?: string; error?: string }[];
  pairs: ({ turns: Message[]; answers: [string, string] } & Record<'paper' | 'trl' | 'turn', Ids>)[];
  cuts: ({ pair: Ids; max_length: number; max_prompt_length: number } & Record<'paper' | 'keep_start', Ids>)[];
  orders: { count: number; seed: number; epoch: number; order: number[] }[];
}

export const fixture = (name: string) => fileURLToPath(new URL(`./fixtures/${name}`, import.meta.url));

export const readJson = <T>(name: string): T => JSON.parse(readFileSync(fixture(name), 'utf8')) as T;

export const reference = () => readJson<Reference>('reference.json');

const bytes = new TextEncoder();

/** Text as a stream of bytes in chunks of `size`. */
export async function* chunked(text: string | Uint8Array, size = 7): AsyncGenerator<Uint8Array> {
  const all = typeof text === 'string' ? bytes.encode(text) : text;
  for (let i = 0; i < all.length; i += size) yield all.subarray(i, i + size);
}

export async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

/** The error that `run` throws. */
export function thrown(run: () => unknown): unknown {
  try {
    run();
  } catch (error) {
    return error;
  }
  throw new Error('nothing was thrown');
}

/** A row of a question and two answers. */
export const row = (more: Partial<PreferenceRow> = {}): PreferenceRow => ({
  id: 'r1',
  context: [{ role: 'user', content: 'hi' }],
  chosen: 'yes',
  rejected: 'no',
  at: { file: 'pairs.jsonl', line: 3 },
  ...more,
});
