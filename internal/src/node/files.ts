import { randomBytes } from 'node:crypto';
import { type FileHandle, open, readdir, rename, rm } from 'node:fs/promises';
import { hostname } from 'node:os';
import { basename, dirname, join } from 'node:path';

/**
 * Replaces a file, or creates it: after a crash at any moment, `path` holds the whole old content or the whole new one.
 * The content goes to a temporary file in the same folder, which is synced to disk and renamed; then the folder is synced.
 *
 * If `content` fails, the temporary file is removed and the old file stays. If the process is killed, the next
 * replacement of the same file removes its temporary file. Several processes may replace one file at once; the last wins.
 *
 * @param content the new content, or a function that writes it to the temporary file
 */
export async function replaceFile(
  path: string,
  content: string | Uint8Array | ((file: FileHandle) => Promise<void>),
): Promise<void> {
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

/** Appends text to a file, or creates it, and syncs it to disk. */
export async function appendToFile(path: string, text: string): Promise<void> {
  const file = await open(path, 'a');
  let isNew: boolean;
  try {
    isNew = (await file.stat()).size === 0;
    await file.appendFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  if (isNew) await syncFolder(dirname(path));
}

/** Syncs a file's content to disk. */
export async function syncFile(path: string): Promise<void> {
  const file = await open(path, 'r+'); // Windows syncs only files that are open for writing
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Syncs a folder's list of names to disk: after this, files created or renamed in it survive a power failure. */
export async function syncFolder(path: string): Promise<void> {
  if (process.platform === 'win32') return; // folders cannot be opened there; NTFS journals renames
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

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
