import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { readRecords, readRows } from '../../src/node';
import { collect, fixture } from '../fixtures';

const dir = mkdtempSync(join(tmpdir(), 'wpo-arrow-'));
afterAll(() => rmSync(dir, { recursive: true }));

const valuesIn = async (path: string, split?: string) =>
  (await collect(readRecords(path, { split }))).map(({ value }) => value);
const expected = await valuesIn(fixture('sources/rows.jsonl'));

describe('Arrow files by datasets and pyarrow', () => {
  it('of save_to_disk are read as the JSONL of the same rows, shard after shard', async () => {
    expect(await valuesIn(fixture('tables/saved'))).toEqual(expected);
    expect(await valuesIn(fixture('tables/saved'), 'test')).toEqual(expected.slice(0, 3));
    expect(await valuesIn(fixture('tables/saved/test'))).toEqual(expected.slice(0, 3));
    expect(await valuesIn(fixture('tables/one'))).toEqual(expected.slice(0, 5));
  });

  it('number rows from 1 in each file', async () => {
    const rows = await collect(readRows(fixture('tables/saved')));
    expect(rows.map(({ at }) => at.line)).toEqual(
      [14, 13, 13].flatMap((n) => Array.from({ length: n }, (_, i) => i + 1)),
    );
    expect(rows[14]!.at.file).toBe(fixture('tables/saved/train/data-00001-of-00003.arrow'));
  });

  it('with a footer are read in their record batches', async () => {
    expect(await valuesIn(fixture('tables/rows.feather'))).toEqual(expected);
  });

  it('are closed when reading stops early', async () => {
    for (let i = 0; i < 5; i++)
      for await (const { value } of readRecords(fixture('tables/one'))) {
        expect(value).toEqual(expected[0]);
        break;
      }
  });

  it('leave out the caches that datasets writes beside them', async () => {
    cpSync(fixture('tables/one'), join(dir, 'cached'), { recursive: true });
    cpSync(fixture('tables/one/data-00000-of-00001.arrow'), join(dir, 'cached/cache-0123456789abcdef.arrow'));
    expect(await valuesIn(join(dir, 'cached'))).toEqual(expected.slice(0, 5));
  });

  it('without a shard are refused', async () => {
    mkdirSync(join(dir, 'part/train'), { recursive: true });
    const shard = 'train/data-00000-of-00003.arrow';
    cpSync(fixture(`tables/saved/${shard}`), join(dir, 'part', shard));
    await expect(valuesIn(join(dir, 'part'))).rejects.toThrow(`expected all shards of ${shard}, found only some`);
  });

  it('that are compressed are refused with the way to write them', async () => {
    await expect(valuesIn(fixture('tables/lz4.feather'))).rejects.toThrow(
      'lz4.feather: expected an Arrow file without compression, found compressed record batches. Write it without',
    );
  });

  it('that are cut off or damaged are refused', async () => {
    const bytes = readFileSync(fixture('tables/one/data-00000-of-00001.arrow'));
    const end = Buffer.from('ffffffff00000000', 'hex');
    const schema = bytes.readInt32LE(4) + 8; // where the first record batch starts
    const cases = [
      bytes.subarray(0, 3),
      bytes.subarray(0, -8),
      bytes.subarray(0, bytes.length / 2),
      Buffer.concat([bytes.subarray(0, bytes.length / 2), end]),
      Buffer.concat([bytes.subarray(0, schema + 20), end]),
      Buffer.concat([bytes.subarray(0, 4), Buffer.from('ffffff7f', 'hex'), bytes.subarray(8)]),
    ];
    for (const [i, content] of cases.entries()) {
      const path = join(dir, `${i}.arrow`);
      writeFileSync(path, content);
      await expect(valuesIn(path), `case ${i}`).rejects.toThrow(`${path}: expected a complete Arrow file, found `);
    }
  });
});
