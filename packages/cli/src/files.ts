import { replaceFile } from '@wpo/internal/node/files';
import { tryLock } from '@wpo/internal/node/lock';
import { UserError } from './errors';

/**
 * Writes a file that appears, or replaces an older one, only when it is complete; see `replaceFile`.
 *
 * @param fill receives a function that appends text
 * @throws {WriteError} if the system refuses to write
 */
export const writeWholeFile = (
  path: string,
  fill: (append: (text: string) => Promise<void>) => Promise<void>,
): Promise<void> => replaceFile(path, (file) => fill((text) => file.appendFile(text)));

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
