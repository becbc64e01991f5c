import { expect, it } from 'vitest';
import type { Facts } from '../../src/doctor/facts';
import { formatDoctor, judge } from '../../src/doctor/report';

const healthy: Facts = {
  node: { version: '22.11.0', platform: 'linux-x64' },
  tensorflow: {
    state: 'works',
    version: '2.21.0',
    variant: 'cpu',
    usesGpu: false,
    fused: true,
    gflops: 210,
    path: '/c/tf',
  },
  tools: { pip: 'python3 -m pip', compiler: 'g++' },
  gpus: [],
  processor: { model: 'Xeon', cores: 8, instructions: ['avx2', 'avx512f'] },
  threads: 8,
  memory: { total: 24e9, available: 20e9 },
  disk: [{ path: '/home/ann', free: 80e9 }],
};

const find = (facts: Partial<Facts>, name: string) => {
  const report = judge({ ...healthy, ...facts });
  return { report: report.ok, ...report.checks.find((check) => check.name === name)! };
};

it('finds nothing wrong with a machine that has all', () => {
  expect(judge(healthy)).toEqual({
    ok: true,
    checks: [
      { name: 'Node', ok: true, found: '22.11.0 on linux-x64' },
      {
        name: 'TensorFlow',
        ok: true,
        found: '2.21.0, CPU build, fused operations, matrix products at 210 GFLOP/s, in /c/tf',
      },
      { name: 'Devices', ok: true, found: 'CPU (no NVIDIA GPU here)' },
      { name: 'Processor', ok: true, found: '8 x Xeon (avx2 avx512f)' },
      { name: 'Threads', ok: true, found: '8 of 8 cores' },
      { name: 'Memory', ok: true, found: '20.0 GB available of 24.0 GB' },
      { name: 'Disk', ok: true, found: '80.0 GB free in /home/ann' },
    ],
  });
});

it('names the command that installs TensorFlow where it is missing', () => {
  expect(find({ tensorflow: { state: 'not installed' } }, 'TensorFlow')).toEqual({
    report: false,
    name: 'TensorFlow',
    ok: false,
    found: 'not installed under @tensorflow/tfjs-node-gpu',
    mend: 'run npx wpo-tensorflow install',
  });
  expect(find({ tensorflow: { state: 'no package' } }, 'TensorFlow').mend).toBe('run npx wpo-tensorflow install');
});

it('names first what the installation needs and is not here', () => {
  const tools = { pip: undefined, compiler: undefined };
  const { mend } = find({ tensorflow: { state: 'not installed' }, tools }, 'TensorFlow');
  expect(mend).toMatch(
    /^install pip \(.*`apt-get install python3-pip`.*, then install a C\+\+ compiler \(.*`apt-get install g\+\+`.*, then run npx wpo-tensorflow install$/,
  );
});

it('shows why a broken TensorFlow does not load', () => {
  const error = "Error: version `GLIBC_2.27' not found";
  const found = find({ tensorflow: { state: 'broken', error, path: '/c/tf' } }, 'TensorFlow');
  expect(found.ok).toBe(false);
  expect(found.found).toBe(`in /c/tf, and does not work: ${error}`);
  expect(found.mend).toContain("rm -r '/c/tf'");
});

it('takes tfjs-node’s old TensorFlow for sound, and says what would be better', () => {
  const tensorflow = { ...healthy.tensorflow, version: '2.9.1', variant: undefined } as Facts['tensorflow'];
  expect(find({ tensorflow }, 'TensorFlow')).toMatchObject({
    ok: true,
    mend: 'npx wpo-tensorflow install puts 2.21.0 in its place',
  });
});

it('says what compiler the fused operations need where they were not built', () => {
  const tensorflow = { ...healthy.tensorflow, fused: false } as Facts['tensorflow'];
  expect(find({ tensorflow }, 'TensorFlow')).toMatchObject({
    ok: true,
    found: '2.21.0, CPU build, matrix products at 210 GFLOP/s, in /c/tf',
    mend: expect.stringContaining('install g++ 12 or later'),
  });
});

it('asks for the CUDA build where a GPU lies idle, and for its libraries where that build is there', () => {
  const gpus = ['NVIDIA H100', 'NVIDIA H100'];
  expect(find({ gpus }, 'Devices')).toMatchObject({
    ok: false,
    found: 'CPU only, though there is 2 x NVIDIA H100',
    mend: 'npx wpo-tensorflow install --variant gpu',
  });
  const cuda = { ...healthy.tensorflow, variant: 'gpu' } as Facts['tensorflow'];
  expect(find({ gpus, tensorflow: cuda }, 'Devices').mend).toContain('TF_CPP_MIN_LOG_LEVEL=0');
  const used = { ...healthy.tensorflow, variant: 'gpu', usesGpu: true } as Facts['tensorflow'];
  expect(find({ gpus, tensorflow: used }, 'Devices')).toMatchObject({ ok: true, found: 'GPU: 2 x NVIDIA H100' });
});

it('refuses a Node before 20', () => {
  expect(find({ node: { version: '18.20.4', platform: 'linux-x64' } }, 'Node')).toMatchObject({
    ok: false,
    mend: 'install Node 20, 22 or 24',
  });
});

it('says so where a process is held to a part of the cores', () => {
  expect(find({ threads: 1 }, 'Threads')).toMatchObject({ ok: true, found: '1 of 8 cores' });
  expect(find({ threads: 1 }, 'Threads').mend).toContain('--bind-to none');
});

it('finds too little memory and disk, more disk being needed before TensorFlow is there than after', () => {
  expect(find({ memory: { total: 4e9, available: 1.5e9 } }, 'Memory').ok).toBe(false);
  const disk = [{ path: '/', free: 1.5e9 }];
  expect(find({ disk }, 'Disk').ok).toBe(true);
  expect(find({ disk, tensorflow: { state: 'not installed' } }, 'Disk')).toMatchObject({
    ok: false,
    mend: 'free some: 1.6 GB is the least',
  });
});

it('prints a line a check, the mends below, and how many are wrong', () => {
  const report = judge({ ...healthy, tensorflow: { state: 'not installed' }, memory: { total: 4e9, available: 1e9 } });
  expect(formatDoctor(report).split('\n')).toEqual([
    'ok  Node        22.11.0 on linux-x64',
    '!!  TensorFlow  not installed under @tensorflow/tfjs-node-gpu',
    '                -> run npx wpo-tensorflow install',
    'ok  Devices     CPU (no NVIDIA GPU here)',
    'ok  Processor   8 x Xeon (avx2 avx512f)',
    'ok  Threads     8 of 8 cores',
    '!!  Memory      1.0 GB available of 4.0 GB',
    '                -> end other programs, or take a machine with more: 2.0 GB is the least',
    'ok  Disk        80.0 GB free in /home/ann',
    '',
    '2 things are wrong.',
  ]);
  expect(formatDoctor(judge(healthy))).toMatch(/\nAll is well\.$/);
});
