import { open, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { UserError } from './errors';

/**
 * Writes a file under a temporary name beside its own, and renames it once it is whole and on the disk. Where `fill`
 * fails nothing is left, and an older file stays.
 *
 * @param fill is given a function that appends text
 * @throws {UserError} where no file can be made there
 */
export async function writeWholeFile(
  path: string,
  fill: (append: (text: string) => Promise<void>) => Promise<void>,
): Promise<void> {
  const partial = join(dirname(path), `.${basename(path)}.partial`);
  const file = await open(partial, 'w').catch((error: NodeJS.ErrnoException) => {
    const found = error.code === 'ENOENT' ? `no folder ${dirname(path)}` : error.message;
    throw new UserError(`${path}: cannot be written: found ${found}, wanted a place for a file.`);
  });
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
