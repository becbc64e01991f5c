import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { appendToFile, makeFolder, replaceFile } from '../../src/node/files';
import { openJsonl } from '../../src/node/jsonl';
import { explainWrites, formatBytes, requireFreeSpace, type WriteError } from '../../src/node/write-errors';

const root = mkdtempSync(join(tmpdir(), 'wpo-write-errors-'));
afterAll(() => rmSync(root, { recursive: true }));

describe('makeFolder', () => {
  test('creates a folder and its parents, and leaves an existing one', async () => {
    await makeFolder(join(root, 'a', 'b', 'c'));
    await makeFolder(join(root, 'a', 'b', 'c'));
    symlinkSync(join(root, 'a'), join(root, 'link'));
    await makeFolder(join(root, 'link', 'd'));
    expect(existsSync(join(root, 'a', 'd'))).toBe(true);
    await Promise.all([1, 2, 3].map(() => makeFolder(join(root, 'p', 'q', 'r'))));
    expect(existsSync(join(root, 'p', 'q', 'r'))).toBe(true);
  });

  test('names the file that is in the way', async () => {
    writeFileSync(join(root, 'file'), '');
    const expected = `expected a folder, found the file ${join(root, 'file')}.`;
    await expect(makeFolder(join(root, 'file'))).rejects.toThrow(expected);
    await expect(makeFolder(join(root, 'file', 'x', 'y'))).rejects.toThrow(expected);
  });

  test('ends where Node’s recursive mkdir never does', async () => {
    await expect(makeFolder('/proc/wpo/run')).rejects.toThrow('/proc/wpo/run: cannot be written: expected');
    await expect(makeFolder('/proc/self/fd/wpo')).rejects.toThrow('/proc/self/fd/wpo: cannot be written: expected');
  });
});

describe('every write names the path, the reason and what to do', () => {
  const refusals: [string, string][] = [
    ['ENOSPC', 'expected free disk space, found a full disk: '],
    ['EDQUOT', 'expected free space in the disk quota, found none. Delete'],
    ['EROFS', 'found a read-only file system. Write to another folder.'],
    ['EMFILE', 'found that this process has none left. Raise the limit: `ulimit -n 4096`.'],
    ['ENFILE', 'found that the system has none left.'],
    ['EFBIG', 'expected no limit on the size of a file'],
    ['EACCES', 'expected permission to write, found none.'],
    ['EIO', 'found an input/output error.'],
    ['ENAMETOOLONG', 'found an error of the system (ENAMETOOLONG: refused, write).'],
  ];
  test.each(refusals)('%s', async (code, text) => {
    const path = join(root, 'x', 'metrics.jsonl');
    const refused = Object.assign(new Error(`${code}: refused, write`), { code, syscall: 'write' });
    const failing = explainWrites(path, () => Promise.reject(refused));
    await expect(failing).rejects.toThrow(`${path}: cannot be written: `);
    await expect(failing).rejects.toThrow(text);
    await expect(failing).rejects.toMatchObject({ name: 'WriteError', code, cause: refused });
  });

  test('an error of the content stays as it is', async () => {
    const failing = replaceFile(join(root, 'content'), () => Promise.reject(new RangeError('odd shape')));
    await expect(failing).rejects.toThrow(RangeError);
  });
});

test('too little free space is found before anything is written', async () => {
  const path = join(root, 'not', 'there');
  await requireFreeSpace(path, 1, 'Delete something.');
  await expect(requireFreeSpace(path, 1e18, 'Delete something.')).rejects.toThrow(
    /^.*not\/there: cannot be written: expected 1000000.0 TB of free disk space, found [\d.]+ (k|M|G|T)B\. Delete something\.$/,
  );
});

test('bytes are shown in decimal units', () => {
  expect([0, 999, 1000, 31_234_567_890, 2e12].map(formatBytes)).toEqual([
    '0 bytes',
    '999 bytes',
    '1.00 kB',
    '31.2 GB',
    '2.00 TB',
  ]);
});

/** A file system of 64 kB; undefined where mounting is not permitted. */
function smallDisk(options: string): string | undefined {
  const folder = mkdtempSync(join(root, 'disk-'));
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', folder], { stdio: 'ignore' });
    return folder;
  } catch {
    return undefined;
  }
}

describe('on a disk of 64 kB', () => {
  const disk = smallDisk('size=64k');
  afterAll(() => void (disk && execFileSync('umount', [disk])));

  test.skipIf(disk === undefined)('a full disk leaves old files whole and no parts of new ones', async () => {
    const path = join(disk!, 'state.json');
    const log = join(disk!, 'log.jsonl');
    await replaceFile(path, 'old');
    await appendToFile(log, '{"row":1}\n');
    const tooMuch = 'x'.repeat(100_000);
    await expect(replaceFile(path, tooMuch)).rejects.toThrow(`${path}: cannot be written: expected free disk space`);
    await expect(appendToFile(log, `${tooMuch}\n`)).rejects.toThrow(
      `${log}: cannot be written: expected free disk space`,
    );
    const rows = await openJsonl(log);
    await expect(rows.append({ tooMuch })).rejects.toThrow(`${log}: cannot be written: expected free disk space`);
    await rows.close();
    expect(readFileSync(path, 'utf8')).toBe('old');
    expect(readFileSync(log, 'utf8')).toBe('{"row":1}\n');
    await expect(requireFreeSpace(path, 70_000, '')).rejects.toThrow('expected 70.0 kB of free disk space, found');
  });

  test.skipIf(disk === undefined)('a read-only disk is named', async () => {
    execFileSync('mount', ['-o', 'remount,ro', disk!]);
    const refused = 'expected a disk that can be written, found a read-only file system';
    await expect(replaceFile(join(disk!, 'state.json'), 'new')).rejects.toThrow(refused);
    await expect(appendToFile(join(disk!, 'log.jsonl'), 'x\n')).rejects.toThrow(refused);
    await expect(makeFolder(join(disk!, 'a', 'b'))).rejects.toThrow(refused);
    await expect(openJsonl(join(disk!, 'log.jsonl'))).rejects.toThrow(refused);
  });
});

test.skipIf(process.getuid?.() === 0)('a folder without permission is named', async () => {
  const folder = join(root, 'locked');
  mkdirSync(folder);
  chmodSync(folder, 0o500);
  await expect(replaceFile(join(folder, 'a'), 'x')).rejects.toThrow('expected permission to write, found none');
});

test('an error shows no control characters of a path, and not all of a long one', async () => {
  const folder = `${root}/\u001b[2J\u202e${'x'.repeat(5000)}`;
  const error = await explainWrites(folder, () => mkdir(folder)).catch((error: WriteError) => error);
  expect(error).toMatchObject({ name: 'WriteError', code: 'ENAMETOOLONG' });
  const { message } = error as WriteError;
  expect(message).toContain('\\u001b[2J\\u202exxx');
  expect(message.length).toBeLessThan(2200);
});
