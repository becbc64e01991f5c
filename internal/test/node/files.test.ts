import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, test } from 'vitest';
import { appendToFile, filesBelow, replaceFile, syncFile, syncFolder } from '../../src/node/files';

const root = mkdtempSync(join(tmpdir(), 'wpo-files-'));
afterAll(() => rmSync(root, { recursive: true }));

function newFolder(): string {
  return mkdtempSync(join(root, 'case-'));
}
const read = (path: string) => readFileSync(path, 'utf8');

test('a file is created or replaced, by text, bytes or a function that writes', async () => {
  const folder = newFolder();
  const path = join(folder, 'a.txt');
  await replaceFile(path, 'text');
  expect(read(path)).toBe('text');
  await replaceFile(path, Buffer.from('bytes'));
  expect(read(path)).toBe('bytes');
  await replaceFile(path, async (file) => {
    await file.appendFile('one ');
    expect(read(path)).toBe('bytes');
    await file.appendFile('two');
  });
  expect(read(path)).toBe('one two');
  expect(readdirSync(folder)).toEqual(['a.txt']);
});

test('if writing fails, the old file stays and the temporary file is removed', async () => {
  const folder = newFolder();
  const path = join(folder, 'a.txt');
  await replaceFile(path, 'old');
  const failing = replaceFile(path, async (file) => {
    await file.appendFile('half');
    throw new Error('disk full');
  });
  await expect(failing).rejects.toThrow('disk full');
  expect(read(path)).toBe('old');
  mkdirSync(join(folder, 'taken'));
  await expect(replaceFile(join(folder, 'taken'), 'x')).rejects.toThrow(
    `${join(folder, 'taken')}: cannot be written: expected a path where a file can be created, found a folder of this name.`,
  );
  expect(readdirSync(folder).sort()).toEqual(['a.txt', 'taken']);
  await expect(replaceFile(join(folder, 'none', 'a.txt'), 'x')).rejects.toThrow(
    `found no folder ${join(folder, 'none')}`,
  );
});

test('concurrent writers of one file leave the whole content of one of them', async () => {
  const folder = newFolder();
  const path = join(folder, 'a.txt');
  const contents = ['a', 'b', 'c', 'd'].map((letter) => letter.repeat(100_000));
  await Promise.all(contents.map((content) => replaceFile(path, content)));
  expect(contents).toContain(read(path));
  expect(readdirSync(folder)).toEqual(['a.txt']);
});

test('a process killed during a write leaves the old file intact, and the next replacement removes its temporary file', async () => {
  const folder = newFolder();
  const path = join(folder, 'a.txt');
  await replaceFile(path, 'old');
  const source = fileURLToPath(new URL('../../src/node/files.ts', import.meta.url));
  const bundle = join(folder, 'child.mjs');
  const { build } = await import('esbuild');
  await build({
    entryPoints: [source],
    bundle: true,
    platform: 'node',
    format: 'esm',
    outfile: bundle,
    logLevel: 'silent',
  });
  const code = `import { replaceFile } from ${JSON.stringify(bundle)};
    await replaceFile(${JSON.stringify(path)}, async (file) => {
      await file.appendFile('half');
      console.log('writing');
      await new Promise((resolve) => setTimeout(resolve, 60_000));
    });`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', code], { stdio: ['ignore', 'pipe', 'inherit'] });
  await new Promise((resolve) => child.stdout.once('data', resolve));
  child.kill('SIGKILL');
  await new Promise((resolve) => child.once('close', resolve));
  expect(read(path)).toBe('old');
  const leftovers = () => readdirSync(folder).filter((name) => name.endsWith('.partial'));
  expect(leftovers()).toHaveLength(1);
  await replaceFile(path, 'new');
  expect(read(path)).toBe('new');
  expect(leftovers()).toEqual([]);
}, 60_000);

test('removes only temporary files for the same file, from processes of this machine that have ended', async () => {
  const folder = newFolder();
  const { pid: ended } = spawnSync('true');
  const partial = (name: string, host: string, pid: number) => `.${name}.${host}-${pid}-0123abcd.partial`;
  const kept = [
    partial('a.txt', hostname(), process.ppid),
    partial('a.txt', 'elsewhere', ended),
    partial('b.txt', hostname(), ended),
  ];
  for (const name of [...kept, partial('a.txt', hostname(), ended)]) writeFileSync(join(folder, name), '');
  await replaceFile(join(folder, 'a.txt'), 'text');
  expect(readdirSync(folder).sort()).toEqual([...kept, 'a.txt'].sort());
});

test('text is appended, and files and folders are synced', async () => {
  const folder = newFolder();
  const path = join(folder, 'log.txt');
  await appendToFile(path, 'one\n');
  await appendToFile(path, 'two\n');
  expect(read(path)).toBe('one\ntwo\n');
  await syncFile(path);
  await syncFolder(folder);
  await expect(syncFile(join(folder, 'none'))).rejects.toThrow('found that it is gone');
});

test('files below a folder are listed by their paths', async () => {
  const folder = newFolder();
  mkdirSync(join(folder, 'b', 'c'), { recursive: true });
  for (const path of ['b/c/2', 'b/1', 'a']) writeFileSync(join(folder, path), '');
  expect(await filesBelow(folder)).toEqual(['a', 'b/1', 'b/c/2']);
});
