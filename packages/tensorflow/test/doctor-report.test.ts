import { expect, it } from 'vitest';
import { checkMachine, formatDoctor } from '../src/doctor';
import type { MachineFacts } from '../src/machine-facts';

const healthy: MachineFacts = {
  node: { version: '22.11.0', platform: 'linux-x64' },
  tensorflow: {
    state: 'works',
    version: '2.21.0',
    variant: 'cpu',
    usesGpu: false,
    native: true,
    store: true,
    gflops: 210,
    path: '/c/tf',
  },
  tools: { pip: 'python3 -m pip', compiler: 'g++' },
  gpus: [],
  cpu: { model: 'Xeon', cores: 8, instructions: ['avx2', 'avx512f'] },
  threads: 8,
  memory: { total: 24e9, available: 20e9 },
  disk: [{ path: '/home/ann', free: 80e9 }],
};

const find = (facts: Partial<MachineFacts>, name: string) => {
  const report = checkMachine({ ...healthy, ...facts });
  return { report: report.ok, ...report.checks.find((check) => check.name === name)! };
};

it('passes every check of a complete machine', () => {
  expect(checkMachine(healthy)).toEqual({
    ok: true,
    checks: [
      { name: 'Node', ok: true, found: '22.11.0 on linux-x64' },
      {
        name: 'TensorFlow',
        ok: true,
        found: '2.21.0, CPU build, native operations, matrix products at 210 GFLOP/s, in /c/tf',
      },
      { name: 'Weights', ok: true, found: 'bfloat16 or float32, mapped from their files or in memory' },
      { name: 'bfloat16', ok: true, found: 'float32 products of rounded operands: as fast as float32' },
      { name: 'Devices', ok: true, found: 'CPU (no NVIDIA GPU found)' },
      { name: 'CPU', ok: true, found: '8 x Xeon (avx2 avx512f)' },
      { name: 'Threads', ok: true, found: '8 of 8 cores' },
      { name: 'Memory', ok: true, found: '20.0 GB available of 24.0 GB' },
      { name: 'Disk', ok: true, found: '80.0 GB free in /home/ann' },
    ],
  });
});

it('says how weights can be held', () => {
  const held = (facts: object) =>
    find({ tensorflow: { ...healthy.tensorflow, ...facts } as MachineFacts['tensorflow'] }, 'Weights').found;
  expect(held({ usesGpu: true })).toBe('bfloat16 or float32');
  expect(held({ store: false })).toBe('float32');
  expect(checkMachine({ ...healthy, tensorflow: { state: 'not installed' } }).checks[2]!.name).toBe('Devices');
});

it('says what computes products of bfloat16', () => {
  const on = (instructions: string[], facts: object = {}) =>
    find(
      {
        tensorflow: { ...healthy.tensorflow, ...facts } as MachineFacts['tensorflow'],
        cpu: { ...healthy.cpu, instructions },
      },
      'bfloat16',
    ).found;
  expect(on(['avx512f', 'avx512_bf16'])).toBe('avx512_bf16');
  expect(on(['avx512_bf16', 'amx_bf16'])).toBe('amx_bf16');
  expect(on([], { usesGpu: true })).toBe('the GPU’s matrix units');
  expect(on(['avx512_bf16'], { native: false })).toContain('there are no native operations');
});

it('names the command that installs a missing TensorFlow', () => {
  expect(find({ tensorflow: { state: 'not installed' } }, 'TensorFlow')).toEqual({
    report: false,
    name: 'TensorFlow',
    ok: false,
    found: 'not installed under @tensorflow/tfjs-node-gpu',
    hint: 'run npx wpo-tensorflow install',
  });
  expect(find({ tensorflow: { state: 'no package' } }, 'TensorFlow').hint).toBe('run npx wpo-tensorflow install');
});

it('names missing pip and compiler before the installation', () => {
  const tools = { pip: undefined, compiler: undefined };
  const { hint } = find({ tensorflow: { state: 'not installed' }, tools }, 'TensorFlow');
  expect(hint).toMatch(
    /^install pip \(.*`apt-get install python3-pip`.*, then install a C\+\+ compiler \(.*`apt-get install g\+\+`.*, then run npx wpo-tensorflow install$/,
  );
});

it('reports why a broken TensorFlow does not load', () => {
  const error = "Error: version `GLIBC_2.27' not found";
  const found = find({ tensorflow: { state: 'broken', error, path: '/c/tf' } }, 'TensorFlow');
  expect(found.ok).toBe(false);
  expect(found.found).toBe(`in /c/tf, does not load: ${error}`);
  expect(found.hint).toContain("rm -r '/c/tf'");
});

it('accepts tfjs-node’s old TensorFlow, and suggests a newer one', () => {
  const tensorflow = { ...healthy.tensorflow, version: '2.9.1', variant: undefined } as MachineFacts['tensorflow'];
  expect(find({ tensorflow }, 'TensorFlow')).toMatchObject({
    ok: true,
    hint: 'run npx wpo-tensorflow install to replace it with 2.21.0',
  });
});

it('names the compiler that missing native operations need', () => {
  const tensorflow = { ...healthy.tensorflow, native: false } as MachineFacts['tensorflow'];
  expect(find({ tensorflow }, 'TensorFlow')).toMatchObject({
    ok: true,
    found: '2.21.0, CPU build, matrix products at 210 GFLOP/s, in /c/tf',
    hint: expect.stringContaining('install g++ 12 or later'),
  });
});

it('suggests the CUDA build for an unused GPU, and points to missing libraries if that build is installed', () => {
  const gpus = ['NVIDIA H100', 'NVIDIA H100'];
  expect(find({ gpus }, 'Devices')).toMatchObject({
    ok: false,
    found: 'CPU only, although the machine has 2 x NVIDIA H100',
    hint: 'run npx wpo-tensorflow install --variant gpu',
  });
  const cuda = { ...healthy.tensorflow, variant: 'gpu' } as MachineFacts['tensorflow'];
  expect(find({ gpus, tensorflow: cuda }, 'Devices').hint).toContain('TF_CPP_MIN_LOG_LEVEL=0');
  const used = { ...healthy.tensorflow, variant: 'gpu', usesGpu: true } as MachineFacts['tensorflow'];
  expect(find({ gpus, tensorflow: used }, 'Devices')).toMatchObject({ ok: true, found: 'GPU: 2 x NVIDIA H100' });
});

it('refuses a Node before 20', () => {
  expect(find({ node: { version: '18.20.4', platform: 'linux-x64' } }, 'Node')).toMatchObject({
    ok: false,
    hint: 'install Node 20, 22, 24 or 26',
  });
});

it('reports that a process may use only some cores', () => {
  expect(find({ threads: 1 }, 'Threads')).toMatchObject({ ok: true, found: '1 of 8 cores' });
  expect(find({ threads: 1 }, 'Threads').hint).toContain('--bind-to none');
});

it('reports too little memory and disk; the installation of TensorFlow needs more disk', () => {
  expect(find({ memory: { total: 4e9, available: 1.5e9 } }, 'Memory').ok).toBe(false);
  const disk = [{ path: '/', free: 1.5e9 }];
  expect(find({ disk }, 'Disk').ok).toBe(true);
  expect(find({ disk, tensorflow: { state: 'not installed' } }, 'Disk')).toMatchObject({
    ok: false,
    hint: 'free disk space: at least 1.6 GB are needed',
  });
});

it('prints one line per check, hints below, and the number of failed checks', () => {
  const report = checkMachine({
    ...healthy,
    tensorflow: { state: 'not installed' },
    memory: { total: 4e9, available: 1e9 },
  });
  expect(formatDoctor(report).split('\n')).toEqual([
    'ok  Node        22.11.0 on linux-x64',
    '!!  TensorFlow  not installed under @tensorflow/tfjs-node-gpu',
    '                -> run npx wpo-tensorflow install',
    'ok  Devices     CPU (no NVIDIA GPU found)',
    'ok  CPU         8 x Xeon (avx2 avx512f)',
    'ok  Threads     8 of 8 cores',
    '!!  Memory      1.0 GB available of 4.0 GB',
    '                -> end other programs, or use a machine with more memory: at least 2.0 GB are needed',
    'ok  Disk        80.0 GB free in /home/ann',
    '',
    '2 checks failed.',
  ]);
  expect(formatDoctor(checkMachine(healthy))).toMatch(/\nAll checks passed\.$/);
});
