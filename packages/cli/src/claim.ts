import { stat } from 'node:fs/promises';
import { createServer } from 'node:net';
import { UserError } from './errors';

/** The length of a socket's name in Linux: versions of Node differ in what they make of a shorter one. */
const NAME_LENGTH = 108;

/**
 * Claims a file or a folder for some work until it is released or this process ends, however it ends: two that write there at
 * once would spoil it. Held by a socket in Linux's memory, named after the file itself, so nothing is left behind to bar a run
 * that goes on after a kill. It is not seen from another machine or another container; elsewhere than on Linux it holds nothing.
 *
 * @param work apart from other work on the same file, e.g. `train`
 * @returns what releases it
 * @throws {UserError} where another process, or this one, has claimed it
 */
export async function claim(path: string, work: string): Promise<() => void> {
  if (process.platform !== 'linux') return () => {};
  const { dev, ino } = await stat(path, { bigint: true });
  const socket = createServer((caller) => caller.destroy()).unref();
  await new Promise<void>((resolve, reject) => {
    socket.once('error', ({ code }: NodeJS.ErrnoException) => {
      if (code !== 'EADDRINUSE') return resolve(); // where sockets are forbidden there is no claim
      reject(
        new UserError(
          `${path}: another wpo process is at work there, and two would spoil what they write. Let it end, or stop it: ` +
            '`pgrep -af wpo` shows it.',
        ),
      );
    });
    socket.listen(`\0wpo-${work}-${dev}-${ino}`.padEnd(NAME_LENGTH, '-'), resolve);
  });
  return () => void socket.close();
}
