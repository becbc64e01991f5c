import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** How this process was started as one of several. */
export interface Launch {
  readonly rank: number;
  readonly size: number;
  /** The MPI of the launcher; undefined if its variables do not tell. */
  readonly family: 'Open MPI' | 'MPICH' | undefined;
}

/**
 * Reads the variables that `mpirun`, `mpiexec` and `srun` set for each process they start.
 *
 * @returns undefined for a process that runs alone
 */
export function mpiLaunch(env: NodeJS.ProcessEnv = process.env): Launch | undefined {
  const number = (name: string | undefined) => (/^\d+$/.test(name ?? '') ? Number(name) : undefined);
  const found: readonly (readonly [rank: string | undefined, size: string | undefined, Launch['family']])[] = [
    [env.OMPI_COMM_WORLD_RANK, env.OMPI_COMM_WORLD_SIZE, 'Open MPI'],
    [env.PMI_RANK, env.PMI_SIZE, 'MPICH'],
    [env.PMIX_RANK, env.SLURM_STEP_NUM_TASKS, undefined], // srun --mpi=pmix
  ];
  for (const [rankText, sizeText, family] of found) {
    const [rank, size] = [number(rankText), number(sizeText)];
    if (rank !== undefined && size !== undefined && size > 1 && rank < size) return { rank, size, family };
  }
  return undefined;
}

/** Programs that start the processes of a job on their machine. */
const LAUNCHERS = /^(mpirun|mpiexec.*|orterun|orted|prterun|prted?|hydra_.*|slurmstepd|pals.*)$/;

/** A running process. */
interface Process {
  readonly pid: number;
  readonly name: string;
  readonly parent: number;
  /** Its start, which tells it from a later process with the same pid. */
  readonly started: string;
}

/** The processes above this one, up to the launcher; empty if no launcher is found, or on a system without /proc. */
export function launcherProcesses(pid = process.pid): Process[] {
  const above: Process[] = [];
  for (let next = readProcess(pid)?.parent; next !== undefined && next > 1; next = above.at(-1)!.parent) {
    const found = readProcess(next);
    if (found === undefined) return [];
    above.push(found);
    if (LAUNCHERS.test(found.name)) return above;
  }
  return [];
}

function readProcess(pid: number): Process | undefined {
  try {
    const [, name, rest] = /^\d+ \((.*)\) (.*)$/s.exec(readFileSync(`/proc/${pid}/stat`, 'utf8'))!;
    const fields = rest!.split(' ');
    if (fields[0] === 'Z') return undefined;
    return { pid, name: name!, parent: Number(fields[1]), started: fields[19]! };
  } catch {
    return undefined;
  }
}

/**
 * Ends this process once its launcher, or a process between them such as `npx`, is gone: nobody would end it otherwise.
 *
 * @returns a function that stops watching
 */
export function endWithLauncher(): () => void {
  const above = launcherProcesses();
  const isGone = ({ pid, started }: Process) => readProcess(pid)?.started !== started;
  const timer = setInterval(() => {
    if (above.some(isGone)) process.kill(process.pid, 'SIGKILL');
  }, 1000).unref();
  return () => clearInterval(timer);
}

/** Folders where the launcher's own MPI library may be, beside the folder of its program. */
export function launcherLibraryFolders(): string[] {
  const launcher = launcherProcesses().at(-1);
  if (launcher === undefined) return [];
  try {
    const prefix = dirname(dirname(readlinkSync(`/proc/${launcher.pid}/exe`)));
    return prefix === '/usr'
      ? []
      : ['lib', 'lib64'].map((name) => join(prefix, name)).filter((path) => existsSync(path));
  } catch {
    return [];
  }
}

/** The number of NVIDIA GPUs of this machine. */
export function gpuCount(folder = '/proc/driver/nvidia/gpus'): number {
  try {
    return readdirSync(folder).length;
  } catch {
    return 0;
  }
}
