import { stat } from 'node:fs/promises';
import { createServer } from 'node:net';

/** The length of an abstract socket's name in Linux. Versions of Node pad a shorter name differently. */
const NAME_LENGTH = 108;

/**
 * Locks a file or folder for one purpose until it is released or this process ends, even by SIGKILL.
 *
 * The lock is an abstract Unix socket named after the file's device and inode. The kernel removes it with its process, so
 * no stale lock ever blocks a run that resumes. Other machines and containers do not see it. On systems other than Linux,
 * and if sockets are forbidden, it locks nothing.
 *
 * @param path must exist
 * @param purpose e.g. `train`; locks for different purposes do not exclude each other
 * @returns a function that releases the lock; undefined if another process, or this one, holds the lock
 */
export async function tryLock(path: string, purpose: string): Promise<(() => void) | undefined> {
  if (process.platform !== 'linux') return () => {};
  const { dev, ino } = await stat(path, { bigint: true });
  const socket = createServer((caller) => caller.destroy()).unref();
  const isHeld = await new Promise<boolean>((resolve) => {
    socket.once('error', ({ code }: NodeJS.ErrnoException) => resolve(code === 'EADDRINUSE'));
    socket.listen(`\0wpo-${purpose}-${dev}-${ino}`.padEnd(NAME_LENGTH, '-'), () => resolve(false));
  });
  return isHeld ? undefined : () => void socket.close();
}
