import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { claim } from '../src/claim';
import { train } from '../src/commands/train';
import { openRowsFile } from '../src/rows-file';
import { capture } from './capture';
import { goldenConfig, temporaryFolder } from './golden';

const folder = temporaryFolder();

describe.runIf(process.platform === 'linux')('a claim', () => {
  test('holds until it is released, whatever path leads to the file', async () => {
    const release = await claim(folder, 'train');
    await expect(claim(join(folder, '.'), 'train')).rejects.toThrow('another wpo process is at work there');
    release();
    (await claim(folder, 'train'))();
  });

  test('is for one kind of work and one file', async () => {
    writeFileSync(join(folder, 'a'), '');
    const held = [await claim(folder, 'train'), await claim(folder, 'run'), await claim(join(folder, 'a'), 'train')];
    for (const release of held) release();
  });

  test('keeps a second writer from a file of rows, whose cut-off end it would take away', async () => {
    const path = join(folder, 'rows.jsonl');
    const file = await openRowsFile(path);
    await file.append({ row: 1 });
    await expect(openRowsFile(path)).rejects.toThrow(`${path}: another wpo process is at work there`);
    await file.close();
    await (await openRowsFile(path)).close();
  });
});

test('a run that could not begin leaves no folder behind, but one that was there', async () => {
  const [made, there] = [join(folder, 'made'), join(folder, 'there')];
  mkdirSync(there);
  const config = goldenConfig(folder);
  for (const output of [made, there]) {
    const set = [`output_dir=${output}`, 'train_file=missing.jsonl'];
    await expect(train({ config, set }, capture())).rejects.toThrow('missing.jsonl');
  }
  expect([existsSync(made), existsSync(there)]).toEqual([false, true]);
});
