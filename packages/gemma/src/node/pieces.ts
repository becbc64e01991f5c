import type { FileHandle } from 'node:fs/promises';

/** Two at work: one piece is converted while the next is on its way to or from the disk. */
const LANES = 2;

/** Small enough to stay in the processor's cache between the disk and the conversion. */
const PIECE_BYTES = 2 ** 21;

/**
 * Goes through `total` bytes in pieces, two at a time.
 *
 * @param job handles bytes `start` to `end`; `scratch` is its own until it ends
 */
export async function inPieces(
  total: number,
  job: (start: number, end: number, scratch: ArrayBuffer) => Promise<void>,
): Promise<void> {
  let next = 0;
  const lane = async () => {
    const scratch = new ArrayBuffer(Math.min(PIECE_BYTES, total));
    while (next < total) {
      const start = next;
      const end = Math.min(start + PIECE_BYTES, total);
      next = end;
      try {
        await job(start, end, scratch);
      } catch (error) {
        next = total;
        throw error;
      }
    }
  };
  await Promise.all(Array.from({ length: LANES }, lane));
}

/**
 * Fills `target` from a file.
 *
 * @param where names what is read in errors
 * @throws Error where the file ends first
 */
export async function readFully(file: FileHandle, target: Uint8Array, position: number, where: string): Promise<void> {
  let done = 0;
  while (done < target.length) {
    const { bytesRead } = await file.read(target, done, target.length - done, position + done);
    if (bytesRead === 0) {
      throw new Error(
        `${where}: the file ends at byte ${position + done}; wanted ${target.length - done} more. ` +
          'It was whole when opened: is something rewriting it?',
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
