import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openRowsFile } from '@wpo/eval/node';
import { describe, expect, test } from 'vitest';
import { lockPath } from '../src/files';
import { temporaryFolder } from './golden';

const folder = temporaryFolder();

describe.runIf(process.platform === 'linux')('a lock', () => {
  test('holds until it is released, whatever path leads to the file', async () => {
    const release = await lockPath(folder, 'train');
    await expect(lockPath(join(folder, '.'), 'train')).rejects.toThrow('another wpo process is writing here');
    release();
    (await lockPath(folder, 'train'))();
  });

  test('is for one purpose and one file', async () => {
    writeFileSync(join(folder, 'a'), '');
    const held = [lockPath(folder, 'train'), lockPath(folder, 'run'), lockPath(join(folder, 'a'), 'train')];
    await expect(Promise.all(held)).resolves.toHaveLength(3);
    for (const release of await Promise.all(held)) release();
  });

  test('prevents a second writer, which would remove an incomplete last line of the first', async () => {
    const path = join(folder, 'rows.jsonl');
    const file = await openRowsFile(path);
    await file.append({ row: 1 });
    await expect(openRowsFile(path)).rejects.toThrow(`${path}: another wpo process is writing here`);
    await file.close();
    await (await openRowsFile(path)).close();
  });
});
