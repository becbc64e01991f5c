import { readdir, realpath, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { makeFolder, syncFolder } from '@wpo/internal/node/files';

/**
 * Replaces a folder, or creates it with its parents.
 *
 * Everything is written to `.NAME.partial` next to `dir`, which is renamed when it is complete and on the disk. An existing
 * folder stays until then. Its other files move to the new folder. A crash between the two renames leaves the old folder as
 * `.NAME.replaced`; the next call completes the replacement.
 *
 * @param isOwn whether a file of the old folder is one of those that are replaced
 * @param write writes the new files into an empty folder
 * @throws Error if `dir` is a file, or writing fails; the old folder then stays
 */
export async function replaceFolder(
  dir: string,
  isOwn: (name: string) => boolean,
  write: (partial: string) => Promise<void>,
): Promise<void> {
  await makeFolder(dirname(dir));
  const target = await realPathOf(dir);
  await finishReplacing(target, isOwn);
  if ((await exists(target)) && !(await stat(target)).isDirectory()) {
    throw new Error(`${dir}: expected a folder or nothing, found a file.`);
  }
  const partial = partialPath(target);
  await rm(partial, { recursive: true, force: true });
  await makeFolder(partial);
  try {
    await write(partial);
    await syncFolder(partial);
  } catch (error) {
    await rm(partial, { recursive: true, force: true });
    throw error;
  }
  await moveTo(target, partial, isOwn);
}

/** Path of a new folder until it is complete. */
const partialPath = (target: string) => join(dirname(target), `.${basename(target)}.partial`);

/** Path of a replaced folder until its remaining files are moved to the new one. */
const replacedPath = (target: string) => join(dirname(target), `.${basename(target)}.replaced`);

async function moveTo(target: string, partial: string, isOwn: (name: string) => boolean): Promise<void> {
  try {
    if (await exists(target)) await rename(target, replacedPath(target));
    await rename(partial, target);
  } catch (error) {
    const reason = error instanceof Error ? error.message : error;
    throw new Error(
      `${target}: the new folder could not be moved here (${reason}). Move it from ${partial}, where it is complete.`,
    );
  }
  await syncFolder(dirname(target));
  await finishReplacing(target, isOwn);
}

/**
 * Completes a replacement, or one that a crash interrupted: moves the old folder's other files to the new folder, and deletes the old folder.
 */
async function finishReplacing(target: string, isOwn: (name: string) => boolean): Promise<void> {
  const replaced = replacedPath(target);
  if (!(await exists(replaced))) return;
  if (!(await exists(target))) return rename(replaced, target);
  const others = (await readdir(replaced)).filter((name) => !isOwn(name));
  const present = new Set(await readdir(target));
  for (const name of others) if (!present.has(name)) await rename(join(replaced, name), join(target, name));
  await rm(replaced, { recursive: true });
  await syncFolder(dirname(target));
}

/** Resolves a symbolic link, so that the folder is replaced and the link stays. */
async function realPathOf(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (error) {
    if (isMissing(error)) return join(await realpath(dirname(path)), basename(path));
    throw error;
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await realpath(path);
    return true;
  } catch (error) {
    if (isMissing(error)) return false;
    throw error;
  }
}

const isMissing = (error: unknown) => error instanceof Error && 'code' in error && error.code === 'ENOENT';
