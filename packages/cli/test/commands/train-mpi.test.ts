import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { readTensors } from '@wpo/gemma/node';
import { valuesInParts } from '@wpo/trainer';
import { beforeAll, describe, expect, test } from 'vitest';
import { families, mpirun, pathOf } from '../../../trainer/test/node/mpirun';
import { withoutNproc } from '../../src/launch';
import { threadsOf } from '../../src/processes';
import { goldenConfig, modelFolder, pairsFile, readMetrics, temporaryFolder, timeless } from '../golden';
import { bin, startWpo, wpo } from '../wpo';

// Two epochs of four steps; a step has four pairs, and the last of an epoch those that are left.
const folder = temporaryFolder();
const config = goldenConfig(folder);
const whole = join(folder, 'whole');
const settings = (output: string) =>
  ['save_steps=1', 'report_samples=0', 'eval_split=3', `output_dir=${output}`].flatMap((set) => ['--set', set]);

beforeAll(async () => {
  if (families.length === 0) return;
  const { status, err } = await startWpo(['train', config, ...settings(whole)]).ended;
  expect(status, err).toBe(0);
});

async function weightsOf(run: string): Promise<number[]> {
  const values: number[] = [];
  for await (const tensor of readTensors(join(run, 'model/model.safetensors'))) {
    for await (const part of valuesInParts(tensor)) values.push(...part);
  }
  return values;
}

/** Expects the run of one process, up to the rounding of sums. */
async function expectSameRun(output: string) {
  const [found, expected] = [timeless(readMetrics(output)), timeless(readMetrics(whole))];
  expect(found.map((row) => Object.keys(row))).toEqual(expected.map((row) => Object.keys(row)));
  for (const [i, row] of expected.entries()) {
    for (const [name, value] of Object.entries(row)) {
      expect(Math.abs(found[i]![name]! - value), `${name} of row ${i}`).toBeLessThan(
        1e-4 * Math.max(1, Math.abs(value)),
      );
    }
  }
  const [a, b] = [await weightsOf(output), await weightsOf(whole)];
  expect(a.reduce((most, x, i) => Math.max(most, Math.abs(x - b[i]!)), 0)).toBeLessThan(1e-5);
}

/** The process of a rank of a job of this test. */
function pidOf(rank: number, output: string): number {
  const isRank = (pid: string) => {
    try {
      const [command, environment] = ['cmdline', 'environ'].map((file) => readFileSync(`/proc/${pid}/${file}`, 'utf8'));
      return (
        command!.startsWith(process.execPath) &&
        command!.includes(output) &&
        /\0(OMPI_COMM_WORLD|PMI)_RANK=(\d+)\0/.exec(environment!)?.[2] === String(rank)
      );
    } catch {
      return false;
    }
  };
  return Number(readdirSync('/proc').find((pid) => /^\d+$/.test(pid) && isRank(pid)));
}

describe.each(families)('under %s', (family) => {
  test('two processes train as one does with twice the accumulation, and only rank 0 prints and writes', async () => {
    const output = join(folder, `two-${family.replace(' ', '')}`);
    const job = mpirun(family, 2, [
      bin,
      'train',
      config,
      '--set',
      'gradient_accumulation_steps=2',
      ...settings(output),
    ]);
    const { status, output: printed } = await job.ended;
    expect(status, printed).toBe(0);
    expect(printed.match(/Training on \d+ pairs, 3 held out with 2 processes/g)).toHaveLength(1);
    expect(printed.match(/train 8\/8/g)).toHaveLength(1);
    await expectSameRun(output);
  });
});

test.skipIf(families.length === 0)(
  'SIGTERM to one of four processes saves, stops all, and one process continues',
  async () => {
    const output = join(folder, 'stopped');
    const job = mpirun(families[0]!, 4, [
      bin,
      'train',
      config,
      '--set',
      'gradient_accumulation_steps=1',
      ...settings(output),
    ]);
    await job.printed('train 3/8');
    process.kill(pidOf(2, output), 'SIGTERM');
    const { status, output: printed } = await job.ended;
    expect(status, printed).toBe(143);
    expect(printed).toContain('rank 2 was asked to stop: all ranks stop.');
    const [, step] = /Stopped after step (\d) of 8/.exec(printed)!;
    expect(existsSync(join(output, `checkpoint-${step}`))).toBe(true);
    const changed = await startWpo([
      'train',
      config,
      ...settings(output),
      '--set',
      'gradient_accumulation_steps=2',
      '--resume',
    ]).ended;
    expect(changed.err).toContain(
      'gradient_accumulation_steps was 1 and is now 2; num_processes was 4 and is now not set',
    );
    const resumed = await startWpo(['train', join(output, 'config.yaml'), '--resume']).ended;
    expect(resumed.status, resumed.err).toBe(0);
    await expectSameRun(output);
  },
);

test.skipIf(families.length === 0)(
  'with sharding: zero1 three processes train as one does, and one without it continues their run',
  async () => {
    const output = join(folder, 'sharded');
    const set = ['--set', 'gradient_accumulation_steps=1', '--set', 'num_processes=4', '--set', 'sharding=zero1'];
    const job = mpirun(families[0]!, 3, [bin, 'train', config, ...set, ...settings(output)]);
    await job.printed('train 3/8');
    process.kill(pidOf(1, output), 'SIGTERM');
    const { status, output: printed } = await job.ended;
    expect(status, printed).toBe(143);
    const resumed = await startWpo(['train', join(output, 'config.yaml'), '--set', 'sharding=none', '--resume']).ended;
    expect(resumed.status, resumed.err).toBe(0);
    await expectSameRun(output);
  },
);

test.skipIf(families.length === 0)(
  '--nproc starts processes, and a mistake in the configuration is reported once',
  async () => {
    const bad = join(folder, 'bad.yaml');
    writeFileSync(bad, readFileSync(config, 'utf8').replace('beta: 0.1', 'beta: -1'));
    const { status, out, err } = await startWpo(['train', bad, '--nproc', '2'], { PATH: pathOf(families[0]!) }).ended;
    expect(status).toBe(1);
    expect((out + err).match(/beta: expected/g)).toHaveLength(1);
  },
);

test.skipIf(families.length === 0)('wpo weigh divides its pairs, and writes the same file', async () => {
  const weigh = (file: string) => ['weigh', '--model', modelFolder, '--pairs', pairsFile, '--out', join(folder, file)];
  expect(await mpirun(families[0]!, 2, [bin, ...weigh('two.jsonl')]).ended).toMatchObject({ status: 0 });
  expect((await wpo(...weigh('one.jsonl'))).status).toBe(0);
  const [two, one] = ['two', 'one'].map((name) => readFileSync(join(folder, `${name}.jsonl`), 'utf8'));
  expect(two).toBe(one);
});

test('without mpirun, --nproc says what to install', async () => {
  const path = process.env.PATH;
  process.env.PATH = folder;
  try {
    const { status, err } = await wpo('train', config, '--nproc', '2');
    expect(status).toBe(1);
    expect(err).toMatch(
      /^--nproc: expected mpirun, which starts the processes, on the path, found none\. Install Open MPI or MPICH: /,
    );
  } finally {
    process.env.PATH = path;
  }
});

test('the flag is taken out of the command of each process', () => {
  expect(withoutNproc(['train', 'a.yaml', '--nproc', '2', '--set', 'x=1'])).toEqual([
    'train',
    'a.yaml',
    '--set',
    'x=1',
  ]);
  expect(withoutNproc(['train', '--nproc=2', 'a.yaml'])).toEqual(['train', 'a.yaml']);
});

test.each([
  [
    { PMI_RANK: '0', PMI_SIZE: '4' },
    /^wpo sample: expected one process, found 4 that mpirun has started\. Only wpo train and wpo weigh divide/,
  ],
  [{ PMI_RANK: '1', PMI_SIZE: '4' }, /^$/],
])('a command that runs as one process is refused under mpirun, once', async (variables, message) => {
  Object.assign(process.env, variables);
  try {
    const { status, err } = await wpo('sample', '--help');
    expect(status).toBe(1);
    expect(err).toMatch(message);
  } finally {
    for (const name of Object.keys(variables)) delete process.env[name];
  }
});

test('ranks divide the cores that they may use together', () => {
  const rank = (host: string, cores: number, allowed: string) => ({ host, pid: 1, cores, allowed });
  const shared = [rank('a', 16, '0-15'), rank('a', 16, '0-15'), rank('a', 16, '0-15'), rank('b', 16, '0-15')];
  expect(shared.map((_, i) => threadsOf(shared, i))).toEqual([5, 5, 5, 16]);
  const bound = [rank('a', 1, '0'), rank('a', 1, '1'), rank('b', 8, '0-7')];
  expect(bound.map((_, i) => threadsOf(bound, i))).toEqual([1, 1, 8]);
  const more = Array.from({ length: 4 }, () => rank('a', 2, '0-1'));
  expect(threadsOf(more, 3)).toBe(1);
});
