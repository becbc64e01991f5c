import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { run } from '../../install/command.mjs';
import { defaultCache, runtimePath } from '../../install/runtime.mjs';
import { downloadWheel, findPip, wheelPlatforms, wheelRequirements } from '../../install/wheels.mjs';
import { scratch } from './scratch';

const answers = { ok: true, missing: false, output: '' };

it('uses the first pip that runs', () => {
  const only = (works: string) => (program: string, args: string[]) => ({
    ...answers,
    ok: [program, ...args].join(' ') === `${works} --version`,
  });
  expect(findPip(only('python3 -m pip'))).toEqual(['python3', '-m', 'pip']);
  expect(findPip(only('pip3'))).toEqual(['pip3']);
  expect(findPip(only('python -m pip'))).toEqual(['python', '-m', 'pip']);
  expect(findPip(only('none'))).toBeUndefined();
});

it('requests the build without CUDA by its own name on x86, and the only build on ARM', () => {
  const [cpu, gpu, arm] = [
    wheelRequirements('cpu', 'x64'),
    wheelRequirements('gpu', 'x64'),
    wheelRequirements('cpu', 'arm64'),
  ];
  expect(cpu).toEqual([expect.stringMatching(/^tensorflow-cpu==2\.21\.0 /)]);
  expect(gpu[0]).toMatch(/^tensorflow==2\.21\.0 /);
  expect(arm).toEqual([expect.stringMatching(/^tensorflow==2\.21\.0 /)]);
  expect(() => wheelRequirements('gpu', 'arm64')).toThrow('There is no CUDA build of TensorFlow 2.21.0 for arm64.');
});

it('pins every wheel to a version and a hash', () => {
  const all = [
    ...wheelRequirements('cpu', 'x64'),
    ...wheelRequirements('gpu', 'x64'),
    ...wheelRequirements('cpu', 'arm64'),
  ];
  expect(all).toHaveLength(15);
  for (const requirement of all) expect(requirement).toMatch(/^[\w-]+==[\d.]+ --hash=sha256:[\da-f]{64}$/);
});

const metadata = join(runtimePath(defaultCache(), 'cpu'), 'deps', 'METADATA');
it.skipIf(!existsSync(metadata))('pins the CUDA libraries that TensorFlow’s wheel names, within its ranges', () => {
  const ranges = [
    ...readFileSync(metadata, 'utf8').matchAll(/^Requires-Dist: ([\w-]+)<([\d.]+),>=([\d.]+); extra == "and-cuda"$/gm),
  ];
  const pins = new Map(wheelRequirements('gpu', 'x64').map((line) => line.split(/==| /) as [string, string]));
  pins.delete('tensorflow');
  expect([...pins.keys()].sort()).toEqual(ranges.map(([, name]) => name).sort());
  const number = (version: string) => version.split('.').reduce((sum, part, at) => sum + Number(part) * 1e4 ** -at, 0);
  for (const [, name, below, least] of ranges) {
    expect(number(pins.get(name!)!), name).toBeLessThan(number(below!));
    expect(number(pins.get(name!)!), name).toBeGreaterThanOrEqual(number(least!));
  }
});

const pip = findPip();
it.skipIf(!pip)('refuses a file with another hash', () => {
  const source = scratch();
  // pip needs a valid wheel only after it has checked the hash
  writeFileSync(join(source, 'wpo_hash_test-1.0-py3-none-any.whl'), 'not the published file');
  const runner = (program: string, args: string[]) => run(program, [...args, '--no-index', '--find-links', source]);
  expect(() =>
    downloadWheel(pip!, `wpo-hash-test==1.0 --hash=sha256:${'0'.repeat(64)}`, scratch(), { runner }),
  ).toThrow(/^wpo-hash-test==1\.0: the downloaded file is not the published one/);
});

it('has pip’s names of the platforms with wheels', () => {
  expect(wheelPlatforms('linux-x64')).toEqual([
    'manylinux_2_27_x86_64',
    'manylinux_2_17_x86_64',
    'manylinux2014_x86_64',
  ]);
  expect(wheelPlatforms('linux-arm64')?.[0]).toBe('manylinux_2_27_aarch64');
  expect(wheelPlatforms('darwin-arm64')).toBeUndefined();
});

it('requests one wheel for a fixed Python, whatever Python runs pip', () => {
  const folder = scratch();
  const calls: string[][] = [];
  let requirement = '';
  const runner = (program: string, args: string[]) => {
    calls.push([program, ...args]);
    requirement = readFileSync(join(folder, 'requirement.txt'), 'utf8');
    writeFileSync(join(folder, 'x-1.0-py3-none-any.whl'), '');
    return answers;
  };
  expect(downloadWheel(['python3', '-m', 'pip'], 'x==1.0', folder, { runner })).toBe(
    join(folder, 'x-1.0-py3-none-any.whl'),
  );
  const [call] = calls;
  expect(call?.slice(0, 4)).toEqual(['python3', '-m', 'pip', 'download']);
  expect(call?.join(' ')).toContain(
    '--no-deps --only-binary=:all: --implementation cp --python-version 3.11 --platform ',
  );
  expect(call?.slice(-5)).toEqual(['--dest', folder, '--quiet', '--requirement', join(folder, 'requirement.txt')]);
  expect(requirement).toBe('x==1.0\n');
});
