// Detects the kind of a file, decompresses it, and reports files that cannot be read.
import { createReadStream } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { createGunzip } from 'node:zlib';
import { homeHint } from '@wpo/internal/home-path';
import { isOutOfMemory } from '@wpo/internal/out-of-memory';
import { printable } from '@wpo/internal/printable';
import { FORMATS } from '../rows/splits';
import { decompressZstd } from './zstd';

/** A file that could not be read or used. The message names it. */
export class FileError extends Error {}

/**
 * An error for a file that could not be read or used.
 *
 * @param error the error that was thrown, or the text for "found" in the message
 */
export function fileError(path: string, error: unknown, expected: string, hint: string): FileError {
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
  const advice = (found === 'no such file' ? homeHint(path) : undefined) ?? hint;
  return new FileError(`${printable(path)}: expected ${expected}, found ${printable(found)}. ${advice}`, {
    cause: error,
  });
}

/** The hint for a file that is not complete. */
export const DAMAGED = 'The file is damaged or was cut off: download it again.';

export type FileKind = 'text' | 'gzip' | 'zstd' | 'parquet' | 'arrow';

const ROWS = `a ${FORMATS} file`;

/** Kinds by file extension, for files without known first bytes. So an empty `.parquet` file is damaged, not text. */
const kindsByName: readonly (readonly [string, FileKind])[] = [
  ['.gz', 'gzip'],
  ['.zst', 'zstd'],
  ['.parquet', 'parquet'],
  ['.arrow', 'arrow'],
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
      if (magic === 'PAR1' || magic === 'PARE') return 'parquet';
      if (magic === 'ARRO' || magic === '\xff\xff\xff\xff') return 'arrow';
      return kindsByName.find(([ending]) => path.toLowerCase().endsWith(ending))?.[1] ?? 'text';
    } finally {
      await file.close();
    }
  } catch (error) {
    if (error instanceof FileError) throw error;
    throw fileError(path, error, ROWS, 'Check the path.');
  }
}

/** A file may decompress to this many bytes whatever its size. */
const MAX_SMALL = 2 ** 26;
/** Larger ones must not grow by more than this. JSON text compresses about tenfold. */
const MAX_RATIO = 200;

/**
 * A file's bytes, decompressed if `kind` is `gzip` or `zstd`.
 *
 * @param name names the file in errors
 * @throws {Error} if the file cannot be read, is damaged or cut off, or decompresses to over 200 times its size
 * @throws {RangeError} if memory cannot be allocated
 */
export async function* readDecompressed(
  path: string,
  name: string,
  kind: FileKind,
): AsyncGenerator<Uint8Array, void, undefined> {
  const stream = createReadStream(path, { highWaterMark: 2 ** 20 });
  let size = 0;
  const parts =
    kind === 'gzip'
      ? decompressGzip(path, stream)
      : kind === 'zstd'
        ? decompressZstd(stream)
        : (stream as AsyncIterable<Uint8Array>);
  try {
    for await (const part of parts) {
      size += part.length;
      if (size > MAX_SMALL && size > MAX_RATIO * stream.bytesRead) {
        const found = `${stream.bytesRead} bytes that decompress to more than ${size}`;
        throw fileError(name, found, `data of at most ${MAX_RATIO} times its compressed size`, DECOMPRESS);
      }
      yield part;
    }
  } catch (error) {
    if (error instanceof FileError || isOutOfMemory(error)) throw error;
    const isOfSystem = (error as NodeJS.ErrnoException).syscall !== undefined;
    throw fileError(name, error, ROWS, isOfSystem || kind === 'text' ? 'Check the path and the disk.' : DAMAGED);
  } finally {
    stream.destroy();
  }
}

const DECOMPRESS = 'If the file comes from a source that you trust, decompress it first, with gunzip or zstd -d.';

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
