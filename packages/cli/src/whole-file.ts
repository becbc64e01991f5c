import { open, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

/**
 * Writes a file under a temporary name beside its own, and renames it once it is whole and on the disk. Where `fill`
 * fails nothing is left, and an older file stays.
 *
 * @param fill is given a function that appends text
 */
export async function writeWholeFile(
  path: string,
  fill: (append: (text: string) => Promise<void>) => Promise<void>,
): Promise<void> {
  const partial = join(dirname(path), `.${basename(path)}.partial`);
  const file = await open(partial, 'w');
  try {
    await fill((text) => file.appendFile(text));
    await file.sync();
    await file.close();
    await rename(partial, path);
  } catch (error) {
    await file.close();
    await rm(partial, { force: true });
    throw error;
  }
}
