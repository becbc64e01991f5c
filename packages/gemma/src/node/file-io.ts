import type { FileHandle } from 'node:fs/promises';

/** transformers' name of a checkpoint in one file. */
export const WEIGHTS_FILE = 'model.safetensors';

/** transformers' name of the index of a checkpoint in several files (shards). */
export const INDEX_FILE = 'model.safetensors.index.json';

/** While one chunk is converted, the other is read or written. */
const CONCURRENCY = 2;

/** Small enough that a chunk is still in the CPU's cache when it is converted. */
const CHUNK_BYTES = 2 ** 21;

/**
 * Processes `total` bytes in chunks, two at a time.
 *
 * @param job processes bytes `start` to `end`; no other call uses `scratch` until it ends
 */
export async function inChunks(
  total: number,
  job: (start: number, end: number, scratch: ArrayBuffer) => Promise<void>,
): Promise<void> {
  let next = 0;
  const worker = async () => {
    const scratch = new ArrayBuffer(Math.min(CHUNK_BYTES, total));
    while (next < total) {
      const start = next;
      const end = Math.min(start + CHUNK_BYTES, total);
      next = end;
      try {
        await job(start, end, scratch);
      } catch (error) {
        next = total; // stops the other worker
        throw error;
      }
    }
  };
  await Promise.all(Array.from({ length: CONCURRENCY }, worker));
}

/**
 * Fills `target` from a file.
 *
 * @param where the file's or tensor's name for errors
 * @throws Error if the file ends first
 */
export async function readFully(file: FileHandle, target: Uint8Array, position: number, where: string): Promise<void> {
  let done = 0;
  while (done < target.length) {
    const { bytesRead } = await file.read(target, done, target.length - done, position + done);
    if (bytesRead === 0) {
      throw new Error(
        `${where}: expected ${target.length - done} more bytes at byte ${position + done}, found the end of the file. ` +
          'The file was complete when it was opened: is another process rewriting it?',
      );
    }
    done += bytesRead;
  }
}

/** Writes all of `source` to a file, at `position`. */
export async function writeFully(file: FileHandle, source: Uint8Array, position: number): Promise<void> {
  let done = 0;
  while (done < source.length) {
    const { bytesWritten } = await file.write(source, done, source.length - done, position + done);
    done += bytesWritten;
  }
}
