import { createReadStream } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { createGunzip } from 'node:zlib';
import { fileError } from './file-error';
import { unzstd } from './zstd';

/** What a file's first bytes say that it is. */
export type FileKind = 'text' | 'gzip' | 'zstd' | 'parquet';

const WANTED = 'a file of rows: JSONL, JSON or Parquet';

/** What a name ends in, where the first bytes do not say: a file cut off to nothing is no empty text. */
const endings: readonly (readonly [string, FileKind])[] = [
  ['.gz', 'gzip'],
  ['.zst', 'zstd'],
  ['.parquet', 'parquet'],
];

/** @throws {Error} where the file cannot be read */
export async function kindOf(path: string): Promise<FileKind> {
  try {
    const file = await open(path);
    try {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(4), 0, 4, 0);
      const magic = buffer.subarray(0, bytesRead).toString('latin1');
      if (magic.startsWith('\x1f\x8b')) return 'gzip';
      const skippable = magic >= 'P' && magic < '`' && magic.endsWith('*M\x18'); // a zstd frame to be passed over
      if (magic === '\x28\xb5\x2f\xfd' || skippable) return 'zstd';
      if (magic === 'PAR1') return 'parquet';
      return endings.find(([ending]) => path.toLowerCase().endsWith(ending))?.[1] ?? 'text';
    } finally {
      await file.close();
    }
  } catch (error) {
    throw fileError(path, error, WANTED, 'Check the path.');
  }
}

/**
 * A file's bytes, unpacked where it is packed.
 *
 * @throws {Error} where the file cannot be read, or is damaged or cut off
 */
export async function* unpacked(
  path: string,
  name: string,
  kind: FileKind,
): AsyncGenerator<Uint8Array, void, undefined> {
  const stream = createReadStream(path, { highWaterMark: 2 ** 20 });
  try {
    if (kind === 'gzip') yield* gunzipped(path, stream);
    else if (kind === 'zstd') yield* unzstd(stream);
    else yield* stream as AsyncIterable<Uint8Array>;
  } catch (error) {
    throw fileError(name, error, WANTED, kind === 'text' ? 'Check the path.' : DAMAGED);
  } finally {
    stream.destroy();
  }
}

/** What to do about a file that is not whole. */
export const DAMAGED = 'The file is damaged or was cut off: get it again.';

async function* gunzipped(path: string, stream: NodeJS.ReadableStream): AsyncGenerator<Uint8Array, void, undefined> {
  const gunzip = createGunzip({ chunkSize: 2 ** 18 });
  stream.on('error', (error) => gunzip.destroy(error));
  try {
    yield* stream.pipe(gunzip) as AsyncIterable<Uint8Array>;
  } finally {
    gunzip.destroy();
  }
  // zlib stops in silence at a zero after the last member
  if (gunzip.bytesWritten < (await stat(path)).size) throw new Error('bytes after the gzip data');
}
