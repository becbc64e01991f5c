import { createHash } from 'node:crypto';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { fc, it as itProperty } from '@fast-check/vitest';
import { parquetWriteBuffer } from 'hyparquet-writer';
import { afterAll, describe, expect, it } from 'vitest';
import xxhash from 'xxhash-wasm';
import type { PreferenceRow } from '../../src/index';
import { readRecords, readRows } from '../../src/node';
import { readDecompressed } from '../../src/node/files';
import { collect, fixture } from '../fixtures';

const dir = mkdtempSync(join(tmpdir(), 'wpo-sources-'));
afterAll(() => rmSync(dir, { recursive: true }));

const source = (name: string) => fixture(`sources/${name}`);
const write = (name: string, content: string | Uint8Array) => {
  const path = join(dir, name);
  mkdirSync(join(path, '..'), { recursive: true });
  writeFileSync(path, content);
  return path;
};

/** A row without its location. */
const contentOf = ({ at: _, id, ...row }: PreferenceRow) => ({ ...row, ...(id.includes(':') ? {} : { id }) });
const contentsIn = async (path: string) => (await collect(readRows(path))).map(contentOf);

const parquetKinds = ['none', 'snappy', 'gzip', 'zstd', 'brotli', 'lz4', 'plain-v2'];
const zstdKinds = ['rows.jsonl.zst', 'fast.zst', 'strong.zst', 'frames.zst', 'pyarrow.zst'];

describe('files by pyarrow and zstd', () => {
  it.each(parquetKinds)('reads Parquet, %s, as the JSONL of the same rows', async (kind) => {
    const rows = await collect(readRows(source(`${kind}.parquet`)));
    expect(rows.map(contentOf)).toEqual(await contentsIn(source('rows.jsonl')));
    expect(rows.map(({ at }) => at.line)).toEqual(Array.from({ length: 40 }, (_, i) => i + 1));
    expect(rows[3]!.id).toBe(`${source(`${kind}.parquet`)}:4`);
  });

  it('converts values to JSON’s: null lists, integers', async () => {
    const values = (await collect(readRecords(source('snappy.parquet')))).map(({ value }) => value);
    expect(values).toEqual((await collect(readRecords(source('rows.jsonl')))).map(({ value }) => value));
  });

  it('reads no rows from an empty Parquet file', async () => {
    expect(await collect(readRows(source('empty.parquet')))).toEqual([]);
  });

  it.each(zstdKinds)('decompresses %s', async (kind) => {
    expect(await contentsIn(source(kind))).toEqual(await contentsIn(source('rows.jsonl')));
  });

  it('decompresses blocks that refer to earlier ones', async () => {
    const path = source('blocks.zst');
    const found = createHash('sha256').update(Buffer.concat(await collect(readDecompressed(path, path, 'zstd'))));
    const expected = createHash('sha256').update(readFileSync(source('rows.jsonl'), 'utf8').repeat(40));
    expect(found.digest('hex')).toBe(expected.digest('hex'));
  });
});

const text = fc.string({ unit: 'binary', minLength: 1, maxLength: 40 }).map((t) => `${t}x`);
const answer = (reply: fc.Arbitrary<string>) => reply.map((content) => [{ role: 'assistant', content }]);
const anyRow = fc.record({
  id: fc.option(fc.integer({ min: 0, max: 2 ** 40 }).map((n) => `r${n}`)),
  prompt: text,
  chosen: answer(text),
  rejected: answer(text),
  weight: fc.option(fc.double({ min: 0, max: 10, noNaN: true }).map(Math.abs)),
});

describe('the same rows', () => {
  itProperty.prop([fc.array(anyRow, { minLength: 1, maxLength: 12 }), fc.integer({ min: 1, max: 5 })], { numRuns: 40 })(
    'are read from every file format',
    async (rows, rowGroupSize) => {
      const lines = rows.map((row) => `${JSON.stringify(row)}\n`).join('');
      const column = (name: keyof (typeof rows)[number], type: 'STRING' | 'JSON' | 'DOUBLE') => ({
        name,
        type,
        data: rows.map((row) => row[name]),
        nullable: true,
      });
      const columnData = [
        column('id', 'STRING'),
        column('prompt', 'STRING'),
        column('chosen', 'JSON'),
        column('rejected', 'JSON'),
        column('weight', 'DOUBLE'),
      ];
      const files = [
        write('same.jsonl', lines),
        write('same.json', JSON.stringify(rows, null, 1)),
        write('same.jsonl.gz', gzipSync(lines)),
        write('same.json.gz', gzipSync(JSON.stringify(rows))),
        write('same.jsonl.zst', await rawZstd(lines)),
        write('same.parquet', new Uint8Array(parquetWriteBuffer({ columnData, rowGroupSize }))),
      ];
      const [first, ...others] = await Promise.all(files.map(contentsIn));
      expect(first).toHaveLength(rows.length);
      for (const other of others) expect(other).toEqual(first);
    },
  );
});

/** A zstd frame of stored blocks and a checksum (RFC 8878). */
async function rawZstd(content: string, blockSize = 100): Promise<Uint8Array> {
  const bytes = Buffer.from(content);
  const parts: Uint8Array[] = [Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0b0000_0100, 0b0101_0000])];
  for (let at = 0; at < bytes.length || at === 0; at += blockSize) {
    const block = bytes.subarray(at, at + blockSize);
    const head = (block.length << 3) | (at + blockSize >= bytes.length ? 1 : 0);
    parts.push(Uint8Array.of(head & 255, (head >> 8) & 255, head >> 16), block);
  }
  const checksum = Buffer.alloc(4);
  checksum.writeUInt32LE(Number((await xxhash()).create64().update(bytes).digest() & 0xffffffffn));
  return Buffer.concat([...parts, checksum]);
}

describe('damaged files', () => {
  const packed = {
    'cut.jsonl.gz': gzipSync(readFileSync(source('rows.jsonl'))),
    'cut.jsonl.zst': readFileSync(source('rows.jsonl.zst')),
    'cut.frames.jsonl.zst': readFileSync(source('frames.zst')),
    'cut.parquet': readFileSync(source('snappy.parquet')),
    'cut.json': Buffer.from(JSON.stringify([{ prompt: 'p', chosen: 'c', rejected: 'r' }])),
  };

  it.each(Object.entries(packed))('are reported wherever %s is cut off, never read in part', async (name, whole) => {
    const path = join(dir, name);
    for (let length = 0; length < whole.length; length += 1 + Math.floor(whole.length / 97)) {
      if (length > 0 && startsFrame(whole.subarray(length))) continue;
      if (name === 'cut.json' && length === 0) continue; // an empty text holds no rows
      writeFileSync(path, whole.subarray(0, length));
      await expect(collect(readRows(path)), `${length} bytes`).rejects.toThrow(path);
    }
  });

  /** Whether the cut is at the start of a frame, so that what comes before it is complete. */
  const startsFrame = (rest: Buffer) => /^(\x28\xb5\x2f\xfd|Z\*M)/.test(rest.subarray(0, 4).toString('latin1'));

  it.each(['cut.jsonl.gz', 'cut.jsonl.zst'] as const)('are reported wherever a bit of %s is flipped', async (name) => {
    const whole = packed[name];
    const path = join(dir, `flipped-${name}`);
    const expected = await contentsIn(source('rows.jsonl'));
    const start = name.endsWith('gz') ? 10 : 5; // after gzip's header: its fields do not affect the content
    for (let at = start; at < whole.length; at += 1 + Math.floor(whole.length / 197)) {
      const flipped = Buffer.from(whole);
      flipped[at]! ^= 1 << (at % 8);
      writeFileSync(path, flipped);
      const read = await contentsIn(path).catch((error: Error) => error);
      if (read instanceof Error) expect(read.message, `byte ${at}`).toContain(path);
      else expect(read, `byte ${at}`).toEqual(expected); // e.g. a larger window in a frame header
    }
  });

  it('make the Parquet reader fail only with an error that names the file', async () => {
    const whole = packed['cut.parquet'];
    const path = join(dir, 'flipped.parquet');
    let reported = 0;
    for (let at = 0; at < whole.length; at += 1 + Math.floor(whole.length / 211)) {
      const flipped = Buffer.from(whole);
      flipped[at]! ^= 1 << (at % 8);
      writeFileSync(path, flipped);
      const rows = await collect(readRows(path)).catch((error: Error) => error);
      if (rows instanceof Error) expect(rows.message, `byte ${at}`).toContain('flipped.parquet');
      else expect(rows, `byte ${at}`).toHaveLength(40);
      if (rows instanceof Error) reported++;
    }
    expect(reported).toBeGreaterThan(20);
  });

  it('are reported with what is wrong and how to fix it', async () => {
    const cut = (name: string, content: Buffer) => write(name, content.subarray(0, content.length - 9));
    const hint = 'The file is damaged or was cut off: download it again.';
    await expect(contentsIn(cut('a.jsonl.gz', packed['cut.jsonl.gz']))).rejects.toThrow(
      `expected a JSONL, JSON, CSV, TSV, Parquet or Arrow file, found unexpected end of file. ${hint}`,
    );
    await expect(contentsIn(cut('a.jsonl.zst', packed['cut.jsonl.zst']))).rejects.toThrow(
      `expected a JSONL, JSON, CSV, TSV, Parquet or Arrow file, found the end of the file inside zstd data. ${hint}`,
    );
    await expect(contentsIn(cut('a.parquet', packed['cut.parquet']))).rejects.toThrow(
      `expected a complete Parquet file, found its footer unreadable (no "PAR1" at its end). ${hint}`,
    );
    await expect(
      contentsIn(write('b.jsonl.gz', Buffer.concat([packed['cut.jsonl.gz'], Buffer.alloc(64)]))),
    ).rejects.toThrow('found bytes after the gzip data');
    await expect(contentsIn(write('c.jsonl.gz', ''))).rejects.toThrow(
      'c.jsonl.gz: expected a JSONL, JSON, CSV, TSV, Parquet or Arrow file, found ',
    );
    const checked = Buffer.from(packed['cut.jsonl.zst']);
    checked[checked.length - 1]! ^= 1;
    await expect(contentsIn(write('d.jsonl.zst', checked))).rejects.toThrow('zstd data with a wrong checksum');
  });

  it.each([
    ['blanks', 0x20],
    ['line ends', 0x0a],
  ])('of many %s are refused before they are read to the end', async (_, byte) => {
    const path = write('bomb.jsonl.gz', gzipSync(Buffer.alloc(2 ** 26 + 2 ** 20, byte), { level: 1 }));
    await expect(contentsIn(path)).rejects.toThrow(
      /bomb\.jsonl\.gz: expected data of at most 200 times its compressed size, found \d+ bytes that decompress to more than \d+\. If the file comes from a source that you trust, decompress it first/,
    );
  });

  it('of many tiny zstd blocks with a large window are refused', async () => {
    const block = [0x0a, 0, 0, 0x20]; // one blank, repeated once
    const frame = Uint8Array.from([
      0x28,
      0xb5,
      0x2f,
      0xfd,
      0,
      0x88,
      ...new Array(4000).fill(block).flat(),
      0x0b,
      0,
      0,
      0x0a,
    ]);
    await expect(contentsIn(write('tiny.jsonl.zst', frame))).rejects.toThrow(/\d+ zstd blocks of only \d+ bytes/);
  });

  it('name the row of a Parquet file that cannot be used, or skip it with onBadRow skip', async () => {
    const columnData = ['prompt', 'chosen', 'rejected'].map((name) => ({
      name,
      type: 'STRING' as const,
      data: [`${name} 1`, name === 'chosen' ? '' : name, `${name} 3`],
    }));
    const path = write('bad.parquet', new Uint8Array(parquetWriteBuffer({ columnData, rowGroupSize: 2 })));
    await expect(contentsIn(path)).rejects.toThrow(
      `${path}:2: chosen: expected an answer with text, found an empty answer`,
    );
    const rows = await collect(readRows(path, { onBadRow: 'skip' }));
    expect(rows.map(({ at }) => at.line)).toEqual([1, 3]);
  });
});

describe('folders and globs', () => {
  const row = (name: string) => `{"prompt": "q", "chosen": "${name}", "rejected": "r"}\n`;
  const chosenIn = async (path: string, split?: string) =>
    (await collect(readRows(path, split === undefined ? {} : { split }))).map(({ chosen }) => chosen);

  it('are read file by file, sorted by name, including subfolders', async () => {
    for (const name of ['b.jsonl', 'a/z.jsonl', 'B.jsonl', 'c.jsonl.gz']) {
      write(`plain/${name}`, name.endsWith('gz') ? gzipSync(row(name)) : row(name));
    }
    write('plain/README.md', 'no rows');
    write('plain/.hidden.jsonl', 'no rows');
    await expect(chosenIn(join(dir, 'plain'))).resolves.toEqual(['B.jsonl', 'a/z.jsonl', 'b.jsonl', 'c.jsonl.gz']);
    await expect(chosenIn(join(dir, 'plain/*.jsonl'))).resolves.toEqual(['B.jsonl', 'b.jsonl']);
    await expect(chosenIn(join(dir, 'plain/{b,c}.*'))).resolves.toEqual(['b.jsonl', 'c.jsonl.gz']);
    await expect(chosenIn(join(dir, 'plain/**/z*'))).resolves.toEqual(['a/z.jsonl']);
  });

  it('name each row’s own file', async () => {
    write('named/1.jsonl', row('x'));
    write('named/2.jsonl', '{}');
    await expect(chosenIn(join(dir, 'named'))).rejects.toThrow(
      `${join(dir, 'named/2.jsonl')}:1: expected "prompt", "chosen" and "rejected", or the columns of UltraFeedback, HH-RLHF, Orca, Alpaca or ShareGPT pairs, found no columns`,
    );
    await expect(chosenIn(join(dir, 'named/[2].jsonl'))).rejects.toThrow(
      `${join(dir, 'named/2.jsonl')}:1: expected "prompt", "chosen" and "rejected", or the columns of UltraFeedback, HH-RLHF, Orca, Alpaca or ShareGPT pairs, found no columns`,
    );
  });

  it('read a file whose name looks like a glob', async () => {
    await expect(chosenIn(write('odd[1].jsonl', row('x')))).resolves.toEqual(['x']);
  });

  it('give the requested split, by default train', async () => {
    write('split/data/train-00000-of-00002.jsonl', row('t0'));
    write('split/data/train-00001-of-00002.jsonl', row('t1'));
    write('split/data/test-00000-of-00001.jsonl', row('e'));
    await expect(chosenIn(join(dir, 'split'))).resolves.toEqual(['t0', 't1']);
    await expect(chosenIn(join(dir, 'split'), 'test')).resolves.toEqual(['e']);
    await expect(chosenIn(join(dir, 'split'), 'dev')).rejects.toThrow(
      'split: expected the split dev, found the splits test, train. Name one of them with split, or a path.',
    );
    rmSync(join(dir, 'split/data/train-00001-of-00002.jsonl'));
    await expect(chosenIn(join(dir, 'split'))).rejects.toThrow(
      'expected all shards of data/train-00000-of-00002.jsonl, found only some',
    );
  });

  it.each([
    [
      ['sub/a.ODS', 'README.md'],
      '**',
      'a spreadsheet (sub/a.ODS). Convert it to JSONL, e.g. in Python: pandas.read_excel("a.ODS")',
    ],
    [
      ['train.xlsx', 'test.pkl', 'x.xlsx', 'y.pickle', 'state.json'],
      '*',
      'files of other kinds (test.pkl, train.xlsx, x.xlsx and 1 more). Convert each to JSONL, e.g. in Python: ' +
        'pandas.read_pickle("test.pkl")',
    ],
  ])('of tables, %j, are named with the way to convert them', async (names, glob, found) => {
    const folder = `tables ${names.length}`;
    for (const name of names) write(`${folder}/${name}`, 'prompt,chosen,rejected\na,b,c\n');
    const end = '.to_json("rows.jsonl", orient="records", lines=True).';
    await expect(chosenIn(join(dir, folder))).rejects.toThrow(
      `${join(dir, folder)}: expected JSONL, JSON, CSV, TSV, Parquet or Arrow files, found ${found}${end}`,
    );
    await expect(chosenIn(join(dir, folder, glob))).rejects.toThrow(
      `${join(dir, folder, glob)}: expected JSONL, JSON, CSV, TSV, Parquet or Arrow files that match, found ${found}${end}`,
    );
  });

  it('are rejected without data files, or with files of two formats', async () => {
    mkdirSync(join(dir, 'none'));
    await expect(chosenIn(join(dir, 'none'))).rejects.toThrow(
      'none: expected JSONL, JSON, CSV, TSV, Parquet or Arrow files, found none.',
    );
    await expect(chosenIn(join(dir, 'none/*.jsonl'))).rejects.toThrow(
      'expected JSONL, JSON, CSV, TSV, Parquet or Arrow files that match, found none',
    );
    cpSync(source('rows.jsonl'), join(dir, 'two/train.jsonl'));
    cpSync(source('snappy.parquet'), join(dir, 'two/train.parquet'));
    await expect(chosenIn(join(dir, 'two'))).rejects.toThrow('expected files of one format, found jsonl and parquet');
  });
});
