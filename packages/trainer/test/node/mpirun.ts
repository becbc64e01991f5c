import { spawn } from 'node:child_process';
import { dirname } from 'node:path';
import { findMpi } from '../../../../scripts/ensure-mpi.mjs';

/** Runs programs under the `mpirun` of Open MPI and of MPICH. */

const found = findMpi();

/** The families that are installed, with a message about those that are not. */
export const families = (['Open MPI', 'MPICH'] as const).filter((family) => {
  if (found[family] !== null) return true;
  console.warn(`Tests with ${family} are skipped: there is no mpirun of it. \`npm test\` installs it with pip.`);
  return false;
});

/** A search path on which the `mpirun` of a family comes first. */
export const pathOf = (family: (typeof families)[number]): string =>
  [...(found[family]!.includes('/') ? [dirname(found[family]!)] : []), process.env.PATH].join(':');

/** What is passed on to the processes: not the variables of a job that the tests themselves run in. */
const clean = () =>
  Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(OMPI|PMI|PMIX|PRTE)_/.test(name)));

/** A job that runs. */
export interface Job {
  readonly pid: number;
  /** Everything that its processes have printed. */
  output(): string;
  /** Resolves once the processes have printed a text. */
  printed(text: string): Promise<void>;
  kill(signal: NodeJS.Signals): void;
  readonly ended: Promise<{ readonly status: number | null; readonly output: string; readonly seconds: number }>;
}

/** Starts `ranks` processes of Node with these arguments. */
export function mpirun(family: (typeof families)[number], ranks: number, args: readonly string[]): Job {
  const flags =
    family === 'Open MPI'
      ? ['--allow-run-as-root', '--oversubscribe', '--bind-to', 'none', '--mca', 'btl', 'self,sm,tcp']
      : [];
  const started = performance.now();
  const child = spawn(found[family]!, [...flags, '-np', String(ranks), process.execPath, ...args], { env: clean() });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  }
  const ended = new Promise<Awaited<Job['ended']>>((resolve) => {
    child.on('close', (status) => resolve({ status, output, seconds: (performance.now() - started) / 1000 }));
  });
  return {
    pid: child.pid!,
    output: () => output,
    ended,
    kill: (signal) => void child.kill(signal),
    async printed(text) {
      for (let isOver = false; !output.includes(text); await new Promise((done) => setTimeout(done, 20))) {
        if (isOver) throw new Error(`the job ended without printing "${text}":\n${output}`);
        void ended.then(() => {
          isOver = true;
        });
      }
    },
  };
}
