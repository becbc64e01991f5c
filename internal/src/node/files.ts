import { randomBytes } from 'node:crypto';
import { type FileHandle, mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { hostname } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { explainWrites, WriteError } from './write-errors';

/**
 * Replaces a file, or creates it: after a crash at any moment, `path` holds the whole old content or the whole new one.
 * The content goes to a temporary file in the same folder, which is synced to disk and renamed; then the folder is synced.
 *
 * If `content` fails, the temporary file is removed and the old file stays. If the process is killed, the next
 * replacement of the same file removes its temporary file. Several processes may replace one file at once; the last wins.
 *
 * @param content the new content, or a function that writes it to the temporary file
 * @throws {WriteError} if the system refuses to write; any error of `content` as it is
 */
export const replaceFile = (path: string, content: FileContent): Promise<void> =>
  explainWrites(path, () => replace(path, content));

export type FileContent = string | Uint8Array | ((file: FileHandle) => Promise<void>);

async function replace(path: string, content: FileContent): Promise<void> {
  await removeLeftovers(path);
  const temporary = join(
    dirname(path),
    `${temporaryPrefix(path)}${ownerName()}${randomBytes(4).toString('hex')}.partial`,
  );
  const file = await open(temporary, 'wx');
  try {
    try {
      await (typeof content === 'function' ? content(file) : file.writeFile(content));
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await syncFolder(dirname(path));
}

const temporaryPrefix = (path: string) => `.${basename(path)}.`;
const ownerName = (pid = process.pid) => `${hostname()}-${pid}-`;

/** Removes the temporary files for `path` of processes on this machine that have ended. */
async function removeLeftovers(path: string): Promise<void> {
  const prefix = temporaryPrefix(path) + hostname();
  const names = await readdir(dirname(path)).catch(() => []);
  for (const name of names) {
    if (!name.startsWith(prefix)) continue;
    const pid = /^-(\d+)-[0-9a-f]{8}\.partial$/.exec(name.slice(prefix.length))?.[1];
    if (pid !== undefined && !isRunning(Number(pid))) await rm(join(dirname(path), name), { force: true });
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH';
  }
}

/**
 * Appends text to a file, or creates it, and syncs it to disk. If the disk is full, no part of the text is left in the file.
 *
 * @throws {WriteError} if the system refuses to write
 */
export const appendToFile = (path: string, text: string): Promise<void> =>
  explainWrites(path, async () => {
    const file = await open(path, 'a');
    try {
      if ((await appendWhole(file, text)) > 0) return;
    } finally {
      await file.close();
    }
    await syncFolder(dirname(path));
  });

/** Appends text to an open file and syncs it; if that fails, no part of the text stays. Returns the size before. */
export async function appendWhole(file: FileHandle, text: string): Promise<number> {
  const { size } = await file.stat();
  try {
    await file.appendFile(text);
    await file.sync();
    return size;
  } catch (error) {
    await file.truncate(size).catch(() => {});
    throw error;
  }
}

/**
 * Creates a folder and its parents, if they do not exist, and syncs their names to disk. Unlike Node's recursive `mkdir`, it
 * ends on file systems that report a parent as missing that exists, such as /proc.
 *
 * @throws {WriteError} if the system refuses, or a file is in the way
 */
export const makeFolder = (path: string): Promise<void> =>
  explainWrites(path, async () => {
    const missing: string[] = [];
    let at = resolve(path);
    for (; (await kindOf(at)) === 'nothing'; at = dirname(at)) missing.unshift(at);
    if ((await kindOf(at)) === 'file')
      throw new WriteError(`${path}: expected a folder, found the file ${at}.`, 'EEXIST');
    for (const folder of missing) {
      await mkdir(folder).catch(async (error: NodeJS.ErrnoException) => {
        // another process may have created it
        if (error.code !== 'EEXIST' || (await kindOf(folder)) !== 'folder') throw error;
      });
      await syncFolder(dirname(folder));
    }
  });

async function kindOf(path: string): Promise<'folder' | 'file' | 'nothing'> {
  try {
    return (await stat(path)).isDirectory() ? 'folder' : 'file';
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return 'nothing'; // ENOTDIR: a parent is a file, and is found next
    throw error;
  }
}

/** Syncs a file's content to disk. */
export const syncFile = (path: string): Promise<void> =>
  explainWrites(path, async () => {
    const file = await open(path, 'r+'); // Windows syncs only files that are open for writing
    try {
      await file.sync();
    } finally {
      await file.close();
    }
  });

/** Syncs a folder's list of names to disk: after this, files created or renamed in it survive a power failure. */
export const syncFolder = (path: string): Promise<void> =>
  explainWrites(path, async () => {
    if (process.platform === 'win32') return; // folders cannot be opened there; NTFS journals renames
    const folder = await open(path, 'r');
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
  });

/** Lists all files in a folder and its subfolders: sorted paths, relative to the folder, with `/`. */
export async function filesBelow(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true });
  const found = await Promise.all(
    entries.map(async (entry) =>
      entry.isDirectory()
        ? (await filesBelow(join(folder, entry.name))).map((path) => `${entry.name}/${path}`)
        : [entry.name],
    ),
  );
  return found.flat().sort();
}
