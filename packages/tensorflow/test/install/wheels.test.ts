import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { downloadWheel, findPip, tensorflowRequirement, wheelPlatforms } from '../../install/wheels.mjs';
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
  expect(tensorflowRequirement('cpu', 'x64')).toBe('tensorflow-cpu==2.21.0');
  expect(tensorflowRequirement('gpu', 'x64')).toBe('tensorflow==2.21.0');
  expect(tensorflowRequirement('cpu', 'arm64')).toBe('tensorflow==2.21.0');
  expect(() => tensorflowRequirement('gpu', 'arm64')).toThrow('There is no CUDA build of TensorFlow 2.21.0 for arm64.');
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
  const runner = (program: string, args: string[]) => {
    calls.push([program, ...args]);
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
  expect(call?.slice(-4)).toEqual(['--dest', folder, '--quiet', 'x==1.0']);
});
