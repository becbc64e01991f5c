import { existsSync, linkSync, mkdirSync, readdirSync, readFileSync, realpathSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { isLinked, linkedRuntime, linkRuntime } from '../../install/package.mjs';
import { scratch } from './scratch';

function fakeRuntime(root: string, name: string): { runtime: string; addon: string } {
  const runtime = join(root, name);
  const addon = join(runtime, 'addon-0');
  mkdirSync(join(runtime, 'deps/lib'), { recursive: true });
  mkdirSync(join(addon, 'napi-v8'), { recursive: true });
  writeFileSync(join(addon, 'napi-v8/tfjs_binding.node'), name);
  return { runtime, addon };
}

function fakePackage(root: string): string {
  const folder = join(root, 'package');
  mkdirSync(folder);
  writeFileSync(join(folder, 'package.json'), '{}');
  return folder;
}

it('links the package to a runtime and its addon', () => {
  const root = realpathSync(scratch());
  const folder = fakePackage(root);
  const { runtime, addon } = fakeRuntime(root, 'cpu');
  expect(isLinked(folder, runtime, addon)).toBe(false);
  expect(linkedRuntime(folder)).toBeUndefined();

  linkRuntime(folder, runtime, addon);
  expect(isLinked(folder, runtime, addon)).toBe(true);
  expect(readFileSync(join(folder, 'lib/napi-v8/tfjs_binding.node'), 'utf8')).toBe('cpu');
  expect(existsSync(join(folder, 'deps/lib'))).toBe(true);
  expect(linkedRuntime(folder)).toBe(runtime);
  expect(readdirSync(folder).sort()).toEqual(['deps', 'lib', 'package.json']);
});

it('links it to another runtime and leaves the first one unchanged', () => {
  const root = realpathSync(scratch());
  const folder = fakePackage(root);
  const cpu = fakeRuntime(root, 'cpu');
  const gpu = fakeRuntime(root, 'gpu');
  linkRuntime(folder, cpu.runtime, cpu.addon);
  linkRuntime(folder, gpu.runtime, gpu.addon);
  expect(linkedRuntime(folder)).toBe(gpu.runtime);
  expect(readFileSync(join(cpu.addon, 'napi-v8/tfjs_binding.node'), 'utf8')).toBe('cpu');
});

it('replaces the folders of another installer without writing to shared files', () => {
  const root = realpathSync(scratch());
  const folder = fakePackage(root);
  const store = join(root, 'store-file');
  writeFileSync(store, 'the store’s');
  for (const path of ['deps/lib', 'lib/napi-v8']) mkdirSync(join(folder, path), { recursive: true });
  linkSync(store, join(folder, 'lib/napi-v8/tfjs_binding.node'));
  const { runtime, addon } = fakeRuntime(root, 'cpu');
  linkRuntime(folder, runtime, addon);
  expect(readFileSync(store, 'utf8')).toBe('the store’s');
  expect(isLinked(folder, runtime, addon)).toBe(true);
  expect(readdirSync(folder).sort()).toEqual(['deps', 'lib', 'package.json']);
});

it('finds no runtime if the links lead nowhere', () => {
  const root = scratch();
  const folder = fakePackage(root);
  linkRuntime(folder, join(root, 'gone'), join(root, 'gone/addon-0'));
  expect(linkedRuntime(folder)).toBeUndefined();
});
