import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

/** Where a file or folder lies until it is whole: beside its own place, so that a rename is all that is left to do. */
export const partialPath = (path: string): string => join(dirname(path), `.${basename(path)}.partial`);

/**
 * Writes a file under a temporary name, sees it onto the disk and renames it, so that `path` holds the old file or the
 * whole new one whatever happens. Where `write` fails the temporary file is removed.
 */
export async function writeDurably(path: string, write: (file: FileHandle) => Promise<void>): Promise<void> {
  const partial = partialPath(path);
  try {
    const file = await open(partial, 'w');
    try {
      await write(file);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(partial, path);
  } catch (error) {
    await rm(partial, { force: true });
    throw error;
  }
  await syncFolder(dirname(path));
}

/** Sees a folder's own entries (names, renames) onto the disk, where the system can. */
export async function syncFolder(path: string): Promise<void> {
  // Windows opens no folders; its renames are in the file system's journal.
  if (process.platform === 'win32') return;
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
