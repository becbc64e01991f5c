import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { mpiGroup } from '../../src/node';
import { gpuCount, mpiLaunch } from '../../src/node/mpi/launcher';
import { families, mpirun } from './mpirun';

const child = fileURLToPath(new URL('./mpi-child.mjs', import.meta.url));

test('the variables of mpirun, mpiexec and srun tell the rank; one process alone is none', () => {
  expect(mpiLaunch({})).toBeUndefined();
  expect(mpiLaunch({ OMPI_COMM_WORLD_RANK: '0', OMPI_COMM_WORLD_SIZE: '1' })).toBeUndefined();
  expect(mpiLaunch({ OMPI_COMM_WORLD_RANK: '3', OMPI_COMM_WORLD_SIZE: '4', PMIX_RANK: '3' })).toEqual({
    rank: 3,
    size: 4,
    family: 'Open MPI',
  });
  expect(mpiLaunch({ PMI_RANK: '1', PMI_SIZE: '2' })).toEqual({ rank: 1, size: 2, family: 'MPICH' });
  expect(mpiLaunch({ PMIX_RANK: '1', SLURM_STEP_NUM_TASKS: '8' })).toEqual({ rank: 1, size: 8, family: undefined });
  expect(mpiLaunch({ SLURM_PROCID: '0', SLURM_NTASKS: '8' })).toBeUndefined(); // the script of sbatch
});

test('without a launcher there is no group, and nothing is loaded', async () => {
  expect(await mpiGroup(undefined)).toBeUndefined();
  expect(readFileSync('/proc/self/maps', 'utf8')).not.toContain('koffi');
});

test('a folder that does not exist has no GPUs', () => expect(gpuCount('/nowhere')).toBe(0));

/** Runs a task of mpi-child.mjs on each rank, and returns what the ranks print, by rank. */
async function onRanks(family: (typeof families)[number], ranks: number, task: string) {
  const { status, output } = await mpirun(family, ranks, [child, task]).ended;
  expect(status, output).toBe(0);
  const lines = output.split('\n').map((line) => /^(\d+): (.*)$/.exec(line));
  const found = lines
    .filter((line) => line !== null)
    .map(([, rank, text]) => [Number(rank), JSON.parse(text!)] as const);
  return found.sort((a, b) => a[0] - b[0]).map(([, value]) => value);
}

const isRunning = (pid: number) =>
  existsSync(`/proc/${pid}/stat`) && !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));

/** The launcher may end before the processes that it has killed. */
async function expectEnded(pids: readonly number[]): Promise<void> {
  for (let i = 0; i < 100 && pids.some(isRunning); i++) await new Promise((done) => setTimeout(done, 100));
  expect(pids.filter(isRunning)).toEqual([]);
}

describe.each(families)('%s', (family) => {
  test('does not rewrite code that allocates memory, which other threads run', async () => {
    expect(await onRanks(family, 2, 'memoryCode')).toEqual([true, true]);
  });

  test('sums, gathers, broadcasts and agrees, to the same values on all ranks', async () => {
    const [first, ...others] = await onRanks(family, 3, 'collectives');
    expect(first).toEqual({
      size: 3,
      version: expect.stringMatching(family === 'MPICH' ? /^MPICH Version: / : /^Open MPI v/),
      isRight: true,
      few: [3, 3e300, 3 * 2 ** -60],
      gathered: [
        { rank: 0, text: '' },
        { rank: 1, text: 'ü' },
        { rank: 2, text: 'üü' },
      ],
      first: { of: [1, null, 'ä'] },
      agreed: [true, false],
      hosts: 1,
    });
    for (const other of others) expect(other).toEqual(first);
  });

  test('sums ranges to the ranks that have them, and gathers them', async () => {
    const sums = { isOwnRight: [true, true], isRight: [true, true], few: [3, 3, 3, 3].map((n) => n * 2 ** -60) };
    expect(await onRanks(family, 3, 'ranges')).toEqual([sums, sums, sums]);
  });

  test('an error of one rank is thrown by all, which can continue', async () => {
    const expected = { name: 'TrainingError', message: 'step 3: pair "a": bad', step: 3, pairId: 'a', isSame: true };
    expect(await onRanks(family, 2, 'failure')).toEqual([
      { ...expected, after: [0, 1] },
      { ...expected, after: [0, 1] },
    ]);
  });

  test('ranks in different collectives say so', async () => {
    expect(await onRanks(family, 2, 'mismatch')).toEqual([
      'rank 0 is in the collective "a flag" while rank 1 is in "a number"',
      'rank 1 is in the collective "a number" while rank 0 is in "a flag"',
    ]);
  });

  test('a signal of one rank is seen by all in the same collective', async () => {
    const seen = [false, false, false, true];
    expect(await onRanks(family, 2, 'stop')).toEqual([
      { seen, reason: 'rank 1 was asked to stop' },
      { seen, reason: 'stopped by SIGTERM' },
    ]);
  });

  test('a rank that hangs ends the job with its name, and what it was doing', async () => {
    const { status, output } = await mpirun(family, 3, [child, 'hang']).ended;
    expect(status).not.toBe(0);
    expect(output).toMatch(
      /rank 1 of 3 \(process \d+ on .+\): expected at "gradients of step 12" within dist_timeout, 1 s, found that it has not come from "results of step 11"\./,
    );
    expect(output.match(/expected at/g)).toHaveLength(1); // one rank says so
    await expectEnded([Number(/process (\d+)/.exec(output)![1])]);
  });

  test.each(['a rank', 'mpirun'])('where %s is killed, no process is left', async (killed) => {
    const job = mpirun(family, 2, [child, 'wait']);
    await job.printed('1: ');
    await job.printed('0: ');
    const pids = [...job.output().matchAll(/^\d: (\d+)$/gm)].map(([, pid]) => Number(pid));
    expect(pids).toHaveLength(2);
    process.kill(killed === 'mpirun' ? job.pid : pids[1]!, 'SIGKILL');
    const { status } = await job.ended;
    expect(status).not.toBe(0);
    await expectEnded(pids);
  });
});
