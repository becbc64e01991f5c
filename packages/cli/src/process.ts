import { isOutOfMemory } from '@wpo/internal/out-of-memory';
import { bugReport } from './bug-report';
import { describeOutOfMemory } from './errors';
import { main } from './main';
import { screenOf } from './terminal/terminal';

/**
 * Runs `wpo` as this process: the last handler of everything that nothing else handles.
 *
 * - A rejection, exception or event that nobody handles ends the process with status 1 and a request to report it, unless
 *   memory ran out.
 * - If the reader of stdout or stderr is gone, as after `| head`, a command that saves its work continues without output, and
 *   any other command ends.
 */
export async function runProcess(args: readonly string[]): Promise<void> {
  const screen = screenOf(process);
  const fail = (error: unknown) => {
    screen.printError(isOutOfMemory(error) ? describeOutOfMemory(error as Error) : bugReport(error, args));
    process.exit(1);
  };
  process.on('uncaughtException', fail);
  process.on('unhandledRejection', fail);
  process.on('SIGXFSZ', () => {}); // a write beyond `ulimit -f` then fails with EFBIG, and does not end the process
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE' && error.code !== 'EIO') return fail(error);
      const savesWork = process.listenerCount('SIGTERM') > 0;
      if (!savesWork) process.exit(0);
    });
  }
  process.exitCode = await main(args, screen);
}
