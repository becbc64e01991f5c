import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { fc, test } from '@fast-check/vitest';
import { afterAll, describe, expect, it } from 'vitest';
import { type PreferenceRow, type ReadOptions, RowError, readRowsFrom } from '../../src/index';
import { readRecords, readRows } from '../../src/node';
import { tableRecords } from '../../src/node/csv';
import { preferenceRows } from '../../src/rows/read-rows';
import { chunked, collect, fixture } from '../fixtures';

const dir = mkdtempSync(join(tmpdir(), 'wpo-csv-'));
afterAll(() => rmSync(dir, { recursive: true }));

const write = (name: string, content: string | Uint8Array) => {
  const path = join(dir, name);
  writeFileSync(path, content);
  return path;
};
/** A row without its location. */
const contentOf = ({ at: _, id, ...row }: PreferenceRow) => ({ ...row, ...(id.includes(':') ? {} : { id }) });
const values = async (name: string, content: string | Uint8Array, options: ReadOptions = {}) =>
  (await collect(readRecords(write(name, content), options))).map(({ value, at }) => [at.line, value]);
const failure = (name: string, content: string | Uint8Array, options: ReadOptions = {}) =>
  values(name, content, options).then(
    () => undefined,
    (error: Error) => error.message.replace(`${dir}/`, ''),
  );

describe('tables', () => {
  it.each(['rows.csv', 'rows.tsv'])('written by pandas are read as the JSONL of the same rows: %s', async (name) => {
    const found = await collect(readRows(fixture(`tables/${name}`)));
    const expected = await collect(readRows(fixture('sources/rows.jsonl')));
    expect(found.map(contentOf)).toEqual(expected.map(contentOf));
  });

  it('number rows by the line on which they start', async () => {
    const text = '\ufeffprompt,chosen\r\n"two\r\nlines",a\r\n\r\n  \r\n"say ""hi"", you",b\r\n,\r\nlast,c';
    expect(await values('lines.csv', text)).toEqual([
      [2, { prompt: 'two\r\nlines', chosen: 'a' }],
      [6, { prompt: 'say "hi", you', chosen: 'b' }],
      [8, { prompt: 'last', chosen: 'c' }],
    ]);
  });

  it.each([
    ['a.csv', 'x;y\n1,5;2\n', { x: '1,5', y: '2' }],
    ['b.csv', 'x\ty\n1;5\t2\n', { x: '1;5', y: '2' }],
    ['c.csv', 'x,y;z\n1,2\n', { x: '1', 'y;z': '2' }],
    ['d.tsv', 'x\ty,z\n1\t2\n', { x: '1', 'y,z': '2' }],
    ['e.TAB', 'x\ty\n1\t2\n', { x: '1', y: '2' }],
    ['f.csv', 'x\n1\n', { x: '1' }],
  ])('%s: the name and the first row decide the delimiter', async (name, text, row) => {
    expect(await values(name, text)).toEqual([[2, row]]);
  });

  it('have numbers where a field is one, nulls for empty cells, and lists of messages as JSON', async () => {
    const list = '"[{""role"": ""user"", ""content"": ""q""}]"';
    const text = `id,w,score_chosen,score_rejected,prompt,chosen,rejected\n007,0.5,-1e3,nan,1,${list},\n`;
    expect(await values('typed.csv', text)).toEqual([
      [
        2,
        {
          id: '007',
          w: '0.5',
          score_chosen: -1000,
          score_rejected: null,
          prompt: '1',
          chosen: [{ role: 'user', content: 'q' }],
          rejected: null,
        },
      ],
    ]);
    const rows = await collect(
      readRows(write('w.csv', 'p,c,r,w\nq,a,b,0.5\n'), {
        columns: { prompt: 'p', chosen: 'c', rejected: 'r', weight: 'w' },
      }),
    );
    expect(rows).toMatchObject([{ chosen: 'a', weight: 0.5 }]);
  });

  it('are read compressed, and as JSON if that is what they hold', async () => {
    expect(await values('z.csv.gz', gzipSync('a,b\n1,2\n'))).toEqual([[2, { a: '1', b: '2' }]]);
    expect(await values('j.csv', '{"a": 1}\n')).toEqual([[1, { a: 1 }]]);
    expect(await values('empty.csv', '')).toEqual([]);
    expect(await values('head.csv', 'a,b\n')).toEqual([]);
  });

  const header = 'prompt,chosen\n';
  it.each([
    [
      'two cells too many',
      `${header}a,b\n1,2,3,4\n`,
      '3: expected 2 cells, as in the first row, found 4. Put cells that contain',
    ],
    [
      'a quote inside a cell',
      `${header}a,b\n1,5" tall\n`,
      '3: expected a row of CSV, found a quote in the middle of a cell',
    ],
    [
      'text after a quote',
      `${header}"a"b,c\n`,
      '2: expected a row of CSV, found text after the quote that ends a cell. Double',
    ],
    [
      'an open quote',
      `${header}a,b\n\n"1,2\n3,4\n`,
      '4: expected a row of CSV, found a quote that is not closed. Close it',
    ],
    [
      'a repeated name',
      'a,b,a\n1,2,3\n',
      '1: a: expected the names of the columns in the first row, found this name twice',
    ],
    ['CR line ends', 'a,b\r1,2\r', '1: expected lines that end in LF or CRLF, found only CR'],
    [
      'Latin-1',
      Buffer.from(`${header}caf\xe9,b\n`, 'latin1'),
      '2: expected UTF-8 text, found bytes that are not UTF-8',
    ],
    [
      'UTF-16',
      Buffer.from(`\ufeff${header}`, 'utf16le'),
      '1: expected CSV as UTF-8 text, found UTF-16 text. Save it as UTF-8',
    ],
    ['a zip file', 'PK\x03\x04\x14', '1: expected CSV as UTF-8 text, found a zip file'],
  ])('with %s are refused with line and remedy', async (_, text, message) => {
    expect(await failure('bad.csv', text)).toContain(`bad.csv:${message}`);
  });

  it('skip rows that are too long, too wide or not UTF-8, but never a wrong quote', async () => {
    const skipped: string[] = [];
    const options: ReadOptions = {
      onBadRow: 'skip',
      maxRowBytes: 50,
      onSkip: ({ line, found }) => skipped.push(`${line}: ${found}`),
    };
    const text = `${header}"${'long\n'.repeat(20)}",b\n1,2,3\n\xff,b\nx,y\n`;
    expect(await values('skip.csv', Buffer.from(text, 'latin1'), options)).toEqual([
      [25, { prompt: 'x', chosen: 'y' }],
    ]);
    expect(skipped).toEqual(['2: a row of 104 bytes', '23: 3', '24: bytes that are not UTF-8']);
    expect(await failure('quote.csv', `${header}a"b,c\nd,e\n`, options)).toContain(
      'quote.csv:2: expected a row of CSV',
    );
  });

  it('with lists as Python writes them are refused with the way to write them', async () => {
    await expect(collect(readRows(fixture('tables/python.csv')))).rejects.toThrow(
      /python\.csv:2: chosen: expected text, or a list of \{role, content\}, found a list of messages written as text/,
    );
  });
});

const text = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 12 }).map((s) => `${s}x`);
const awkward = fc.oneof(text, fc.constantFrom('a,b', 'say "hi"', '"', ' \n\r\n x', '\tx', ';', ', "y"'));
const row = fc.record({
  prompt: awkward,
  chosen: text,
  rejected: text,
  weight: fc.double({ min: 0, max: 9, noNaN: true }),
});
const quote = (cell: unknown) => `"${String(cell).replaceAll('"', '""')}"`;

test.prop([
  fc.array(row, { maxLength: 8 }),
  fc.integer({ min: 1, max: 40 }),
  fc.constantFrom('\n', '\r\n', '\n\n'),
  fc.constantFrom([',', 'csv'], ['\t', 'tsv'], [';', 'csv']),
])(
  'rows written as CSV are the rows written as JSONL, however the bytes are chunked',
  async (rows, size, end, [delimiter, kind]) => {
    const names = ['prompt', 'chosen', 'rejected', 'weight'] as const;
    const lines = rows.map((row) => names.map((name) => quote(row[name])).join(delimiter));
    const table = [names.join(delimiter), ...lines, ''].join(end);
    const records = tableRecords(chunked(table, size), `x.${kind}`, {}, (name) => name === 'weight');
    const found = (await collect(preferenceRows(records))).map(({ at: _, id: __, ...row }) => row);
    const json = rows.map((row) => JSON.stringify(row)).join('\n');
    const expected = (await collect(readRowsFrom(chunked(json, size), 'x'))).map(({ at: _, id: __, ...row }) => row);
    expect(found).toEqual(expected);
  },
);

const scraps = fc.array(fc.constantFrom('a', ',', '"', '""', '\n', '\r\n', ' ', '\ufeff', 'prompt,chosen\n'), {
  maxLength: 15,
});

test.prop([
  fc.oneof(
    scraps.map((all) => Buffer.from(all.join(''))),
    fc.uint8Array({ maxLength: 40 }),
  ),
  fc.integer({ min: 1, max: 9 }),
])('no input throws anything but a RowError, and chunk sizes make no difference', async (content, size) => {
  const run = (size: number) =>
    collect(tableRecords(chunked(content, size), 'x.csv', { onBadRow: 'skip' }, () => false)).catch(
      (error: unknown) => {
        expect(error).toBeInstanceOf(RowError);
        return (error as RowError).message;
      },
    );
  expect(await run(size)).toEqual(await run(1000));
});
