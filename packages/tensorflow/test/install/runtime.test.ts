import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { defaultCache, makePartial, moveInPlace, runtimePath, variantOf } from '../../install/runtime.mjs';
import { scratch } from './scratch';

it('keeps runtimes in the user’s cache folder', () => {
  expect(defaultCache({}, '/home/ann')).toBe('/home/ann/.cache/wpo');
  expect(defaultCache({ XDG_CACHE_HOME: '/fast' }, '/home/ann')).toBe('/fast/wpo');
  expect(defaultCache({ XDG_CACHE_HOME: '' }, '/home/ann')).toBe('/home/ann/.cache/wpo');
});

it('finds the build of a runtime by its folder', () => {
  expect(variantOf(runtimePath('/c', 'cpu'))).toBe('cpu');
  expect(variantOf(runtimePath('/c', 'gpu'))).toBe('gpu');
  expect(variantOf('/c/tensorflow-2.9.1-gpu')).toBeUndefined();
});

it('removes the folders of killed installations, and not those of running ones', () => {
  const cache = scratch();
  const { pid: dead } = spawnSync(process.execPath, ['-e', '']);
  for (const pid of [dead, process.ppid]) mkdirSync(join(cache, `other.partial-${hostname()}-${pid}`));
  mkdirSync(join(cache, `other.partial-elsewhere-${dead}`));
  const partial = makePartial(cache, join(cache, 'tensorflow'));
  expect(
    readdirSync(cache)
      .map((name) => join(cache, name))
      .sort(),
  ).toEqual(
    [
      join(cache, `other.partial-elsewhere-${dead}`),
      join(cache, `other.partial-${hostname()}-${process.ppid}`),
      partial,
    ].sort(),
  );
});

it('says how to choose another cache if this one cannot be written', () => {
  const file = join(scratch(), 'file');
  writeFileSync(file, '');
  expect(() => makePartial(join(file, 'cache'), join(file, 'cache/tensorflow'))).toThrow(
    expect.objectContaining({
      message: expect.stringContaining(`${join(file, 'cache')} cannot be written: `),
      hints: ['choose another folder with `--cache DIR` or the variable XDG_CACHE_HOME'],
    }),
  );
});

it('keeps the folder of a process that was faster', () => {
  const cache = scratch();
  const target = join(cache, 'tensorflow');
  const partial = makePartial(cache, target);
  writeFileSync(join(partial, 'who'), 'second');
  mkdirSync(target);
  writeFileSync(join(target, 'who'), 'first');
  moveInPlace(partial, target);
  expect(readFileSync(join(target, 'who'), 'utf8')).toBe('first');
  expect(existsSync(partial)).toBe(true);
});
