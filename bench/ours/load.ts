import { open, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { referenceLogps } from '@wpo/trainer';
import { openPolicy, secondsSince } from './open';

export interface LoadAnswer {
  /** Until the weights are where they are computed with. */
  readonly seconds: number;
  /** Until a first forward pass is done, too: a library may have put the reading off until then. */
  readonly firstPassSeconds: number;
  /** Reading the same files and doing nothing with them; the peer is not asked. */
  readonly readSeconds?: number;
  readonly bytes?: number;
}

const PROMPT = Array.from({ length: 16 }, (_, i) => i + 4);

/** Loads a model's folder, once. */
export async function openLoad(options: { readonly model: string }) {
  return async () => {
    const { readSeconds, bytes } = await readFiles(options.model);
    const start = performance.now();
    const { policy } = await openPolicy(options.model);
    const seconds = secondsSince(start);
    await referenceLogps(policy, [{ id: 'first', prompt: PROMPT, chosen: [2], rejected: [2] }]);
    const firstPassSeconds = secondsSince(start);
    return async (): Promise<LoadAnswer> => ({ seconds, firstPassSeconds, readSeconds, bytes });
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
