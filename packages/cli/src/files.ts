import { dirname } from 'node:path';
import { replaceFile } from '@wpo/internal/node/files';
import { tryLock } from '@wpo/internal/node/lock';
import { UserError } from './errors';

/**
 * Writes a file that appears, or replaces an older one, only when it is complete; see `replaceFile`.
 *
 * @param fill receives a function that appends text
 * @throws {UserError} if the file cannot be created
 */
export async function writeWholeFile(
  path: string,
  fill: (append: (text: string) => Promise<void>) => Promise<void>,
): Promise<void> {
  let opened = false;
  try {
    await replaceFile(path, async (file) => {
      opened = true;
      await fill((text) => file.appendFile(text));
    });
  } catch (error) {
    throw opened ? error : cannotWrite(path, error as NodeJS.ErrnoException);
  }
}

function cannotWrite(path: string, { code, message }: NodeJS.ErrnoException): UserError {
  const found = code === 'ENOENT' ? `no folder ${dirname(path)}` : message;
  return new UserError(`${path}: cannot be written: expected a path where a file can be created, found ${found}.`);
}

/**
 * Locks a file or folder until it is released or this process ends; see `tryLock`.
 *
 * @returns a function that releases the lock
 * @throws {UserError} if another process, or this one, holds the lock
 */
export async function lockPath(path: string, purpose: string): Promise<() => void> {
  const release = await tryLock(path, purpose);
  if (release !== undefined) return release;
  throw new UserError(
    `${path}: another wpo process is writing here. Wait until it ends, or stop it: \`pgrep -af wpo\` lists such processes.`,
  );
}
