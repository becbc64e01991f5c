// Detects the kind of a file, decompresses it, and reports files that cannot be read.
import { createReadStream } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { createGunzip } from 'node:zlib';
import { decompressZstd } from './zstd';

/**
 * An error for a file that could not be read or used.
 *
 * @param error the error that was thrown, or the text for "found" in the message
 */
export function fileError(path: string, error: unknown, expected: string, hint: string): Error {
  const code = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
  const found =
    code === 'ENOENT' || code === 'ENOTDIR'
      ? 'no such file'
      : code === 'EISDIR'
        ? 'a folder'
        : code === 'EACCES' || code === 'EPERM'
          ? 'a file without read permission'
          : error instanceof Error
            ? error.message
            : String(error);
  return new Error(`${path}: expected ${expected}, found ${found}. ${hint}`, { cause: error });
}

/** The hint for a file that is not complete. */
export const DAMAGED = 'The file is damaged or was cut off: download it again.';

export type FileKind = 'text' | 'gzip' | 'zstd' | 'parquet';

const ROWS = 'a JSONL, JSON or Parquet file';

/** Kinds by file extension, for files without known first bytes. So an empty `.parquet` file is damaged, not text. */
const kindsByName: readonly (readonly [string, FileKind])[] = [
  ['.gz', 'gzip'],
  ['.zst', 'zstd'],
  ['.parquet', 'parquet'],
];

/** The kind of a file, from its first bytes, else from its name. @throws {Error} if the file cannot be read */
export async function kindOf(path: string): Promise<FileKind> {
  try {
    const file = await open(path);
    try {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(4), 0, 4, 0);
      const magic = buffer.subarray(0, bytesRead).toString('latin1');
      if (magic.startsWith('\x1f\x8b')) return 'gzip';
      const isSkippableFrame = magic >= 'P' && magic < '`' && magic.endsWith('*M\x18'); // of zstd
      if (magic === '\x28\xb5\x2f\xfd' || isSkippableFrame) return 'zstd';
      if (magic === 'PAR1') return 'parquet';
      return kindsByName.find(([ending]) => path.toLowerCase().endsWith(ending))?.[1] ?? 'text';
    } finally {
      await file.close();
    }
  } catch (error) {
    throw fileError(path, error, ROWS, 'Check the path.');
  }
}

/**
 * A file's bytes, decompressed if `kind` is `gzip` or `zstd`.
 *
 * @param name names the file in errors
 * @throws {Error} if the file cannot be read, or is damaged or cut off
 */
export async function* readDecompressed(
  path: string,
  name: string,
  kind: FileKind,
): AsyncGenerator<Uint8Array, void, undefined> {
  const stream = createReadStream(path, { highWaterMark: 2 ** 20 });
  try {
    if (kind === 'gzip') yield* decompressGzip(path, stream);
    else if (kind === 'zstd') yield* decompressZstd(stream);
    else yield* stream as AsyncIterable<Uint8Array>;
  } catch (error) {
    throw fileError(name, error, ROWS, kind === 'text' ? 'Check the path.' : DAMAGED);
  } finally {
    stream.destroy();
  }
}

async function* decompressGzip(
  path: string,
  stream: NodeJS.ReadableStream,
): AsyncGenerator<Uint8Array, void, undefined> {
  const gunzip = createGunzip({ chunkSize: 2 ** 18 });
  stream.on('error', (error) => gunzip.destroy(error));
  try {
    yield* stream.pipe(gunzip) as AsyncIterable<Uint8Array>;
  } finally {
    gunzip.destroy();
  }
  // zlib stops without an error at a zero byte after the last member
  if (gunzip.bytesWritten < (await stat(path)).size) throw new Error('bytes after the gzip data');
}
