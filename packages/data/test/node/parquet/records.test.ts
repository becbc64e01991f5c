import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parquetWriteBuffer } from 'hyparquet-writer';
import { afterAll, describe, expect, it, test } from 'vitest';
import { readRecords, readRows } from '../../../src/node';
import { decodeColumn } from '../../../src/node/parquet/column';
import { readBytes, readFooter } from '../../../src/node/parquet/footer';
import { isUsedColumn } from '../../../src/rows/layouts';
import { collect, fixture } from '../../fixtures';

const dir = mkdtempSync(join(tmpdir(), 'wpo-parquet-'));
afterAll(() => rmSync(dir, { recursive: true }));

const source = (name: string) => fixture(`sources/${name}`);
const write = (name: string, content: Uint8Array) => {
  const path = join(dir, name);
  writeFileSync(path, content);
  return path;
};
const valuesOf = async (path: string) => (await collect(readRecords(path))).map(({ value }) => value);
const texts = (data: string[]) => ({ type: 'STRING' as const, data });
const pairs = (more: Parameters<typeof parquetWriteBuffer>[0]['columnData'] = []) =>
  new Uint8Array(
    parquetWriteBuffer({
      columnData: [
        { name: 'prompt', ...texts(['p', 'q']) },
        { name: 'chosen', ...texts(['c', 'd']) },
        { name: 'rejected', ...texts(['r', 's']) },
        ...more,
      ],
    }),
  );

const codecs = ['snappy', 'lz4', 'zstd', 'brotli', 'gzip'];

describe('values', () => {
  test.each(codecs.flatMap((codec) => [`nulls-v1-${codec}`, `nulls-v2-${codec}`]))(
    'pages without values are read as nulls: %s',
    async (name) => {
      const expected = (await valuesOf(source('rows.jsonl'))) as object[];
      expect(await valuesOf(source(`${name}.parquet`))).toEqual(
        expected.map((row) => ({ ...row, prompt_id: null, tags: null })),
      );
    },
  );

  it('convert intervals and times to text; an infinite time stays its number', async () => {
    expect(await valuesOf(source('interval.parquet'))).toEqual([
      { prompt: 'p', chosen: 'c', rejected: 'r', took: 'P14M3DT1.5S', made: '9223372036854775807' },
      { prompt: 'p', chosen: 'c', rejected: 'r', took: 'P14M3DT1.5S', made: '2024-01-02T03:04:05.000Z' },
    ]);
    expect(await collect(readRows(source('interval.parquet')))).toHaveLength(2);
  });

  it('keep a column named __proto__ and a byte-order mark in a text', async () => {
    const path = write('names.parquet', pairs([{ name: '__proto__', ...texts(['\ufeffx', 'y']) }]));
    const [row] = (await valuesOf(path)) as object[];
    expect(Object.entries(row!).at(-1)).toEqual(['__proto__', '\ufeffx']);
  });
});

test('all columns that the code of preference rows names are read', () => {
  const code = ['layouts', 'preference-row', 'ultrafeedback']
    .map((name) => readFileSync(new URL(`../../../src/rows/${name}.ts`, import.meta.url), 'utf8'))
    .join('');
  const prompts = /PROMPT_COLUMNS = \[(.*)\]/.exec(code)![1]!.matchAll(/'(\w+)'/g);
  const calls = code.matchAll(/(?:optionalField|ownField|optionalNumber|optionalId|has)\((?:row, |value, )?'([^']+)'/g);
  const names = [...prompts, ...calls].map(([, name]) => name!);
  expect(names).toEqual(expect.arrayContaining(['prompt', 'question', 'chosen', 'source_rejected', 'completions']));
  expect(names.filter((name) => !isUsedColumn(name))).toEqual([]);
});

describe('damage', () => {
  it('in a column that is not used is not noticed; in others the error names the column', async () => {
    const file = Buffer.from(pairs([{ name: 'note', ...texts(['first note', 'second note']) }]));
    const at = file.indexOf('first note');
    file[at] = 0xff; // not UTF-8
    const path = write('unused.parquet', file);
    expect((await collect(readRows(path))).map(({ chosen }) => chosen)).toEqual(['c', 'd']);
    await expect(valuesOf(path)).rejects.toThrow(
      `${path}: expected a complete Parquet file, found column "note" of rows 1 to 2 unreadable (text that is not UTF-8). ` +
        'The file is damaged or was cut off: download it again.',
    );
    await expect(collect(readRows(path, { columns: { id: 'note' } }))).rejects.toThrow('column "note"');
  });

  it('of any byte in a page is found by the page’s checksum', async () => {
    const whole = readFileSync(source('checksums.parquet'));
    const footer = whole.length - 8 - whole.readUInt32LE(whole.length - 8);
    for (let at = 4; at < footer; at += 61) {
      const file = Buffer.from(whole);
      file[at]! ^= 1 << (at % 8);
      const rows = await valuesOf(write('flipped.parquet', file)).catch((error: Error) => error);
      // a flipped bit in a page's header may be without effect, such as in its statistics
      if (rows instanceof Error)
        expect(rows.message).toMatch(/flipped\.parquet: expected a complete Parquet file, found /);
      else expect(rows, `byte ${at}`).toEqual(await valuesOf(source('checksums.parquet')));
    }
  });

  it('is distinguished from an encrypted file', async () => {
    const file = readFileSync(source('snappy.parquet'));
    file.write('PARE', file.length - 4, 'latin1');
    file.write('PARE', 0, 'latin1');
    await expect(valuesOf(write('encrypted.parquet', file))).rejects.toThrow(
      'encrypted.parquet: expected a Parquet file that this version can read, found an encrypted file (its footer). Write the file again',
    );
  });

  it('never ends in an error that nobody handles, though several columns are damaged', async () => {
    const unhandled: unknown[] = [];
    const record = (reason: unknown) => void unhandled.push(reason);
    process.on('unhandledRejection', record);
    const file = readFileSync(source('none.parquet'));
    const footer = file.length - 8 - file.readUInt32LE(file.length - 8);
    file.fill(0xff, 4, footer);
    await expect(valuesOf(write('all.parquet', file))).rejects.toThrow('column "prompt" of rows 1 to 16 unreadable');
    await new Promise((resolve) => setImmediate(resolve));
    process.off('unhandledRejection', record);
    expect(unhandled).toEqual([]);
  });
});

describe('bounds', () => {
  it('refuse pages that decompress to more than the budget of their row group', async () => {
    const file = await open(source('brotli.parquet'));
    const footer = await readFooter(file, (await file.stat()).size);
    const column = footer.groups[0]!.columns[0]!;
    const bytes = await readBytes(file, column.start, column.end);
    await file.close();
    expect(decodeColumn(bytes, column, { left: 5000 })).toHaveLength(16);
    expect(() => decodeColumn(bytes, column, { left: 500 })).toThrow(
      'a row group that decompresses to far more bytes than its text can have',
    );
  });

  it('refuse a footer that declares more values and rows than its file can hold', async () => {
    const none = new Array<null>(2_200_000).fill(null);
    const columnData = [{ name: 'prompt', type: 'INT32' as const, data: none, nullable: true }];
    const path = write('rows.parquet', new Uint8Array(parquetWriteBuffer({ columnData, rowGroupSize: 2_200_000 })));
    await expect(collect(readRows(path))).rejects.toThrow(/found 2200000 rows in \d+ bytes \(its footer\)/);
  });
});
