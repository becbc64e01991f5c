import { stat, statfs } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { printable } from '../printable';

/** The system refused to write a file. The message names the path, the reason and what to do. */
export class WriteError extends Error {
  override readonly name = 'WriteError';

  constructor(
    message: string,
    /** The system's error code, e.g. ENOSPC. */
    readonly code: string,
    options?: { readonly cause: unknown },
  ) {
    super(printable(message, 2000), options); // paths may come from servers
  }
}

/**
 * Runs work that writes to `path`, and turns the system's error codes into errors that say what to do.
 *
 * @throws {WriteError} for an error of the file system; any other error as it is
 */
export async function explainWrites<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const { code, syscall } = error as NodeJS.ErrnoException;
    if (error instanceof WriteError || code === undefined || syscall === undefined || syscall === 'read') throw error;
    throw new WriteError(`${path}: cannot be written: ${await explain(path, code, error as Error)}`, code, {
      cause: error,
    });
  }
}

async function explain(path: string, code: string, { message }: Error): Promise<string> {
  const expected = 'expected a path where a file can be created, found';
  switch (code) {
    case 'ENOSPC': {
      const free = await freeBytes(path);
      const found = free === undefined ? 'a full disk' : `a full disk: ${formatBytes(free)} are free`;
      return `expected free disk space, found ${found}. Delete what is no longer needed, or write to another disk.`;
    }
    case 'EDQUOT':
      return 'expected free space in the disk quota, found none. Delete what is no longer needed, or ask for a larger quota.';
    case 'EFBIG':
      return 'expected no limit on the size of a file, found one that is too small. `ulimit -f` shows the limit of the shell.';
    case 'EMFILE':
      return 'expected a free file descriptor, found that this process has none left. Raise the limit: `ulimit -n 4096`.';
    case 'ENFILE':
      return 'expected a free file descriptor, found that the system has none left. End other programs, and try again.';
    case 'EROFS':
      return 'expected a disk that can be written, found a read-only file system. Write to another folder.';
    case 'EACCES':
    case 'EPERM':
      return 'expected permission to write, found none. Check the owner of the folder, or write to another one.';
    case 'EIO':
      return 'expected a working disk, found an input/output error. Check the disk, or write to another one.';
    case 'ENOENT':
      return (await stat(dirname(path)).catch(() => null)) === null
        ? `${expected} no folder ${dirname(path)}. Make that folder first, or choose another path.`
        : `${expected} that it is gone. Is another program deleting files there?`;
    case 'ENOTDIR':
    case 'EEXIST':
      return `${expected} a file where a folder must be. Choose another path.`;
    case 'EISDIR':
    case 'ENOTEMPTY':
      return `${expected} a folder of this name. Choose another path, or move the folder away.`;
    default:
      return `${expected} an error of the system (${message}). Choose another path.`;
  }
}

/**
 * Checks that a disk has space before anything is written.
 *
 * @param path need not exist
 * @param hint what to delete, as a sentence
 * @throws {WriteError} if fewer than `bytes` bytes are free; a disk that does not tell passes
 */
export async function requireFreeSpace(path: string, bytes: number, hint: string): Promise<void> {
  const free = await freeBytes(path);
  if (free === undefined || free >= bytes) return;
  throw new WriteError(
    `${path}: cannot be written: expected ${formatBytes(bytes)} of free disk space, found ${formatBytes(free)}. ${hint}`,
    'ENOSPC',
  );
}

/** Free bytes of the disk that holds a path, for this user; undefined if the file system does not tell. */
async function freeBytes(path: string): Promise<number | undefined> {
  for (let at = resolve(path); ; at = dirname(at)) {
    if ((await stat(at).catch(() => null)) === null && at !== dirname(at)) continue;
    const found = await statfs(at).catch(() => null);
    return found === null || found.blocks === 0 ? undefined : found.bavail * found.bsize;
  }
}

/** A number of bytes in decimal units, e.g. `1.5 GB`. */
export function formatBytes(bytes: number): string {
  const units = ['bytes', 'kB', 'MB', 'GB', 'TB'];
  const power = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log10(Math.max(1, bytes)) / 3)));
  const value = bytes / 1000 ** power;
  return `${power === 0 ? value : value.toFixed(value < 10 ? 2 : 1)} ${units[power]}`;
}
