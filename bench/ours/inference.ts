import { open, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { generateBatch, generateBatchTokens } from '@wpo/gemma';
import type { Dtype } from '../flags';
import { kernels, openFrozen, secondsSince } from './policy';

export interface GenerateAnswer {
  readonly seconds: number;
  /** Until every prompt has its first token. */
  readonly firstTokenSeconds: number;
  readonly ids: readonly (readonly number[])[];
}

/** Greedy tokens after each prompt of a batch, without stop tokens. */
export async function openGenerate(options: { readonly model: string; readonly dtype: Dtype }) {
  const model = await openFrozen(options.model, options.dtype);
  return async ({ prompts, tokens }: { prompts: number[][]; tokens: number }) => {
    const ids: number[][] = prompts.map(() => []);
    let firstTokenSeconds = 0;
    const start = performance.now();
    const options = { temperature: 0, maxNewTokens: tokens, stopIds: [], kernels };
    for await (const { prompt, token } of generateBatchTokens(model, prompts, options)) {
      if (ids[prompt]!.push(token) === 1) firstTokenSeconds = secondsSince(start);
    }
    const seconds = secondsSince(start);
    return async (): Promise<GenerateAnswer> => ({ seconds, firstTokenSeconds, ids });
  };
}

export interface LoadAnswer {
  /** Until the weights are in memory. */
  readonly seconds: number;
  /** Until a first token is generated as well, since a library may defer the reading until then. */
  readonly firstTokenSeconds: number;
  /** Time of only reading the same files; absent for the peer. */
  readonly readSeconds?: number;
  readonly bytes?: number;
}

const PROMPT = Array.from({ length: 18 }, (_, i) => i + 4);

/** Loads a model folder, once. */
export async function openLoad(options: { readonly model: string; readonly dtype: Dtype }) {
  return async () => {
    const { readSeconds, bytes } = await readFiles(options.model);
    const start = performance.now();
    const model = await openFrozen(options.model, options.dtype);
    const seconds = secondsSince(start);
    await generateBatch(model, [PROMPT], { temperature: 0, maxNewTokens: 1, stopIds: [], kernels });
    const firstTokenSeconds = secondsSince(start);
    return async (): Promise<LoadAnswer> => ({ seconds, firstTokenSeconds, readSeconds, bytes });
  };
}

async function readFiles(folder: string) {
  const names = (await readdir(folder)).filter((name) => name.endsWith('.safetensors'));
  const buffer = new Uint8Array(1 << 22);
  const start = performance.now();
  let bytes = 0;
  for (const name of names) {
    const file = await open(join(folder, name));
    const { size } = await stat(join(folder, name));
    for (let at = 0; at < size; ) at += (await file.read(buffer, 0, buffer.length, at)).bytesRead;
    await file.close();
    bytes += size;
  }
  return { readSeconds: secondsSince(start), bytes };
}
