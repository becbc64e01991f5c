import { tryLock } from '@wpo/internal/node/lock';
import { UserError } from './errors';

/**
 * Locks a file or folder until it is released or this process ends; see `tryLock`.
 *
 * @returns a function that releases the lock
 * @throws {UserError} where another process, or this one, holds the lock
 */
export async function claim(path: string, purpose: string): Promise<() => void> {
  const release = await tryLock(path, purpose);
  if (release !== undefined) return release;
  throw new UserError(
    `${path}: another wpo process is writing here. Wait until it ends, or stop it: \`pgrep -af wpo\` lists such processes.`,
  );
}
