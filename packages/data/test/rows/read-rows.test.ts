import { fc, test } from '@fast-check/vitest';
import { describe, expect, it } from 'vitest';
import { type PreferenceRow, type ReadOptions, RowError, readRowsFrom } from '../../src/index';
import { chunked, collect } from '../fixtures';

const row = (name: string) => `{"prompt": "q", "chosen": "${name}", "rejected": "r"}`;

const read = async (text: string | Uint8Array, options: ReadOptions = {}, size = 7) => {
  const skipped: RowError[] = [];
  const rows = await collect(
    readRowsFrom(chunked(text, size), 'f', { onSkip: (error) => skipped.push(error), ...options }),
  );
  return { rows, skipped, found: rows.map(({ chosen, at }) => [chosen, at.line]) };
};

const errorOf = async (text: string | Uint8Array, options: ReadOptions = {}) => {
  const error = await read(text, options).then(
    () => undefined,
    (error: unknown) => error,
  );
  expect(error).toBeInstanceOf(RowError);
  return error as RowError;
};

const bytes = (...values: number[]) => Uint8Array.from(values);
const joined = (...parts: (string | Uint8Array)[]) => Buffer.concat(parts.map((part) => Buffer.from(part as string)));

describe('lines', () => {
  it.each([
    [
      'a last line without a newline',
      `${row('a')}\n${row('b')}`,
      [
        ['a', 1],
        ['b', 2],
      ],
    ],
    [
      'a last line with a newline',
      `${row('a')}\n${row('b')}\n`,
      [
        ['a', 1],
        ['b', 2],
      ],
    ],
    [
      'CRLF',
      `${row('a')}\r\n${row('b')}\r\n`,
      [
        ['a', 1],
        ['b', 2],
      ],
    ],
    [
      'blank lines, which are counted',
      `\n \t\r\n${row('a')}\n\n\n${row('b')}\n\n`,
      [
        ['a', 3],
        ['b', 6],
      ],
    ],
    ['a byte-order mark', `\ufeff${row('a')}\n`, [['a', 1]]],
    ['a single line', row('a'), [['a', 1]]],
    ['nothing', '', []],
    ['only whitespace', ' \n\n', []],
  ])('%s', async (_, text, found) => {
    for (const size of [1, 2, 3, 7, 1000]) expect((await read(text, {}, size)).found).toEqual(found);
  });

  it('stop at the first bad row with an error that names its line', async () => {
    const error = await errorOf(`${row('a')}\n\n{"prompt": "q", "chosen": 5, "rejected": "r"}\n`);
    expect(error).toMatchObject({ file: 'f', line: 3, field: 'chosen' });
  });

  it('continue after bad rows and report each, with onBadRow skip', async () => {
    const text = [row('a'), 'not json', row('b'), row(''), joined(row('x')).subarray(0, 20).toString(), row('c')].join(
      '\n',
    );
    const { found, skipped } = await read(text, { onBadRow: 'skip' });
    expect(found).toEqual([
      ['a', 1],
      ['b', 3],
      ['c', 6],
    ]);
    expect(skipped.map(({ line, field }) => [line, field])).toEqual([
      [2, undefined],
      [4, 'chosen'],
      [5, undefined],
    ]);
  });

  it('reject invalid UTF-8 instead of replacing it, and name the line', async () => {
    const text = joined(
      `${row('a')}\n{"prompt": "q", "chosen": "`,
      bytes(0xc3, 0x28),
      `", "rejected": "r"}\n${row('b')}`,
    );
    expect(await errorOf(text)).toMatchObject({ line: 2, found: 'bytes that are not UTF-8' });
    expect((await read(text, { onBadRow: 'skip' })).found).toEqual([
      ['a', 1],
      ['b', 3],
    ]);
  });

  it('keep U+FFFD, U+FEFF and characters of four bytes', async () => {
    for (const size of [1, 2, 3]) {
      expect((await read(row('\ufffd\ufeff\u{1f600}é'), {}, size)).found).toEqual([['\ufffd\ufeff\u{1f600}é', 1]]);
    }
  });

  it('ignore a byte-order mark at the start of any row, e.g. of joined files', async () => {
    const text = `${row('a')}\n\ufeff${row('b')}\n`;
    expect((await read(text)).found).toEqual([
      ['a', 1],
      ['b', 2],
    ]);
  });

  it('end at a newline only, not at U+2028, U+2029 or U+0085', async () => {
    const answer = 'a\u2028b\u2029c\u0085d\u000be';
    const text = `${JSON.stringify({ prompt: 'q', chosen: answer, rejected: 'r' })}\n${row('b')}`;
    expect((await read(text)).found).toEqual([
      [answer, 1],
      ['b', 2],
    ]);
  });

  it('have exact integers, and NaN for a missing value', async () => {
    const pair = (more: string) => `{"prompt": "q", "chosen": "c NaN 12345678901234567890", "rejected": "r", ${more}}`;
    const text = [
      pair('"id": 9007199254740993'),
      pair('"prompt_id": -9223372036854775808, "x": [1e3, 18446744073709551615]'),
      pair('"id": 7.0, "weight": NaN, "x": -Infinity'),
      pair('"score_chosen": 12345678901234567890, "score_rejected": NaN'),
      pair('"id": NaN, "score_chosen": 12345678901234567890, "score_rejected": 1'),
    ].join('\n');
    const { rows } = await read(text);
    expect(rows.map(({ id }) => id)).toEqual(['9007199254740993', '-9223372036854775808', '7', 'f:4', 'f:5']);
    expect(rows.every(({ chosen }) => chosen === 'c NaN 12345678901234567890')).toBe(true);
    expect(rows.map(({ scores }) => scores)).toEqual([
      undefined,
      undefined,
      undefined,
      undefined,
      { chosen: Number('12345678901234567890'), rejected: 1 },
    ]);
  });

  it('skip a row over the size limit and continue after it', async () => {
    const text = `${row('a')}\n${row('x'.repeat(100_000))}\n${row('b')}\n`;
    const { found, skipped } = await read(text, { onBadRow: 'skip', maxRowBytes: 100 }, 1000);
    expect(found).toEqual([
      ['a', 1],
      ['b', 3],
    ]);
    expect(skipped[0]).toMatchObject({
      line: 2,
      found: `a row of ${100_000 + row('').length} bytes`,
      expected: 'at most 100 bytes',
    });
  });

  it('may be several megabytes long', async () => {
    const { rows } = await read(row('x'.repeat(5_000_000)), {}, 65_536);
    expect(rows[0]?.chosen.length).toBe(5_000_000);
  });

  it('are read one at a time', async () => {
    let given = 0;
    async function* endless() {
      for (;;) {
        given++;
        yield new TextEncoder().encode(`${row(String(given))}\n`);
      }
    }
    const rows = readRowsFrom(endless(), 'f');
    for (let i = 1; i <= 5; i++) expect((await rows.next()).value?.chosen).toBe(String(i));
    expect(given).toBeLessThanOrEqual(6);
  });

  it('close the source when the consumer stops early, at the first row or later, or at an error', async () => {
    for (const stop of [1, 2]) {
      let closed = 0;
      async function* source() {
        try {
          for (;;) yield new TextEncoder().encode(`${row('a')}\n`);
        } finally {
          closed++;
        }
      }
      let read = 0;
      for await (const _ of readRowsFrom(source(), 'f')) if (++read === stop) break;
      expect(closed).toBe(1);
    }
    let closed = false;
    async function* gzip() {
      try {
        for (;;) yield bytes(0x1f, 0x8b, 8, 0);
      } finally {
        closed = true;
      }
    }
    await expect(collect(readRowsFrom(gzip(), 'f'))).rejects.toThrow(
      'expected JSONL or JSON as UTF-8 text, found a gzip file',
    );
    expect(closed).toBe(true);
  });
});

describe('a JSON array', () => {
  it.each([
    [
      'on one line',
      `[${row('a')},${row('b')}]`,
      [
        ['a', 1],
        ['b', 1],
      ],
    ],
    [
      'over several lines',
      `\n[\n  ${row('a')},\n\n  ${row('b').replace(', ', ',\n')}\n]\n`,
      [
        ['a', 3],
        ['b', 5],
      ],
    ],
    ['with a byte-order mark', `\ufeff[${row('a')}]`, [['a', 1]]],
    ['with a newline between the byte-order mark and the array', `\ufeff\n[${row('a')}]`, [['a', 2]]],
    ['empty', '[]', []],
    [
      'with brackets, commas and quotes in texts',
      `[${row('],[{\\"\\\\')} , ${row('}')}]`,
      [
        ['],[{"\\', 1],
        ['}', 1],
      ],
    ],
  ])('%s', async (_, text, found) => {
    for (const size of [1, 2, 3, 7, 1000]) expect((await read(text, {}, size)).found).toEqual(found);
  });

  it('continues after bad elements with onBadRow skip', async () => {
    const text = `[${row('a')},\n 1, "x, y",\n [${row('n')}], {"prompt": 1}, {nonsense},\n ${row('b')}]`;
    const { found, skipped } = await read(text, { onBadRow: 'skip' });
    expect(found).toEqual([
      ['a', 1],
      ['b', 4],
    ]);
    expect(skipped.map(({ line }) => line)).toEqual([2, 2, 3, 3, 3]);
  });

  it.each([
    ['cut off between rows', `[${row('a')},\n`, 2, 'the end of the file before the closing ]'],
    ['cut off inside a row', `[\n${row('a').slice(0, 20)}\n\n`, 2, 'the end of the file inside a row'],
    ['with a quote that is not closed', `[{"prompt": "q},\n${row('b')}]`, 1, 'the end of the file inside a row'],
    ['with an extra comma', `[${row('a')},\n,${row('b')}]`, 2, 'a , where a row should be'],
    ['with a comma at the end', `[${row('a')},\n]`, 2, 'a ] where a row should be'],
    ['with an extra bracket', `[${row('a')}}]`, 1, 'an unmatched }'],
    ['with more text after it', `[${row('a')}]\n${row('b')}`, 2, 'more text after the closing ]'],
  ])('%s is an error, with onBadRow skip too', async (_, text, line, found) => {
    for (const onBadRow of ['error', 'skip'] as const)
      expect(await errorOf(text, { onBadRow })).toMatchObject({ line, found });
  });

  it('counts raw newlines inside a string, which are invalid', async () => {
    const { found, skipped } = await read(`[{"prompt": "q\n\nq"},\n${row('a')}]`, { onBadRow: 'skip' });
    expect(skipped.map(({ line }) => line)).toEqual([1]);
    expect(found).toEqual([['a', 4]]);
  });

  it('is required with format json', async () => {
    expect(await errorOf(row('a'), { format: 'json' })).toMatchObject({ line: 1, found: 'no [ at the start' });
  });

  it('is a bad row with format jsonl', async () => {
    expect(await errorOf(`[${row('a')}]`, { format: 'jsonl' })).toMatchObject({ line: 1, found: 'a list' });
  });

  it('applies the size limit to each element', async () => {
    const { found, skipped } = await read(`[${row('x'.repeat(1000))},${row('b')}]`, {
      onBadRow: 'skip',
      maxRowBytes: 100,
    });
    expect(found).toEqual([['b', 1]]);
    expect(skipped[0]?.found).toBe(`a row of ${1000 + row('').length} bytes`);
  });
});

it.each([
  ['CSV', 'prompt,chosen,rejected\na,b,c\n', 'a CSV file'],
  ['CSV with quotes', '\ufeff"prompt","chosen","rejected"\r\n"a","b","c"\n', 'a CSV file'],
  ['CSV with semicolons', 'id;chosen;rejected\n', 'a CSV file'],
  ['CSV with an index', ',prompt,chosen\n0,a,b\n', 'a CSV file'],
  ['TSV', 'prompt\tchosen\trejected\n', 'a TSV file'],
  ['Arrow', 'ARROW1\0\0', 'an Arrow file'],
  ['pickle', bytes(0x80, 4, 0x95, 0, 0), 'a Python pickle'],
  ['Git LFS', 'version https://git-lfs.github.com/spec/v1\noid sha256:1\n', 'a Git LFS pointer in place of the file'],
  ['a web page', '<!DOCTYPE html>\n<html>', 'a web page or XML'],
  ['indented JSON', '{\n  "prompt": "q"\n}\n', 'JSON objects over several lines'],
  ['gzip', bytes(0x1f, 0x8b, 0x08, 0x00), 'a gzip file'],
  ['zstd', bytes(0x28, 0xb5, 0x2f, 0xfd), 'a zstd file'],
  ['zip', bytes(0x50, 0x4b, 0x03, 0x04), 'a zip file'],
  ['Parquet', 'PAR1....', 'a Parquet file'],
  ['UTF-16', Buffer.from(`\ufeff${row('a')}`, 'utf16le'), 'UTF-16 text'],
])('a file of %s is named in the error, with onBadRow skip too', async (_, content, found) => {
  expect(await errorOf(content, { onBadRow: 'skip' })).toMatchObject({ line: 1, found });
});

const text = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 20 }).map((s) => `${s}x`);
const turn = fc.record({ role: fc.constantFrom('user', 'system'), content: fc.string({ unit: 'grapheme' }) });
const anyRow = fc.record({ context: fc.array(turn, { minLength: 1, maxLength: 3 }), chosen: text, rejected: text });
const layout = ({ context, chosen, rejected }: { context: unknown[]; chosen: string; rejected: string }) => ({
  chosen: [...context, { role: 'assistant', content: chosen }],
  rejected: [...context, { role: 'assistant', content: rejected }],
});
const read3 = ({ context, chosen, rejected }: PreferenceRow) => ({ context, chosen, rejected });

test.prop([
  fc.array(anyRow, { maxLength: 8 }),
  fc.integer({ min: 1, max: 50 }),
  fc.constantFrom('\n', '\r\n', '\n\n'),
  fc.boolean(),
])('rows written as JSONL or JSON are read back, however the bytes are chunked', async (rows, size, end, indent) => {
  const values = rows.map(layout);
  const lines = values.map((value) => JSON.stringify(value)).join(end);
  expect((await read(lines, { format: 'jsonl' }, size)).rows.map(read3)).toEqual(rows);
  const array = JSON.stringify(values, null, indent ? 2 : 0);
  expect((await read(array, {}, size)).rows.map(read3)).toEqual(rows);
});

const scraps = fc.array(
  fc.constantFrom(row('a'), '[', ']', '{', '}', ',', '"', '\\', '\n', ' ', 'null', '1', '\ufeff', '\u0000'),
  { maxLength: 15 },
);

test.prop([
  fc.oneof(
    scraps.map((all) => joined(...all)),
    fc.uint8Array({ maxLength: 40 }),
  ),
  fc.integer({ min: 1, max: 9 }),
])('no input throws anything but a RowError, and chunk sizes make no difference', async (content, size) => {
  const run = (size: number) =>
    read(content, { onBadRow: 'skip' }, size).then(
      ({ found, skipped }) => ({ found, skipped: skipped.map(({ message }) => message) }),
      (error: unknown) => {
        expect(error).toBeInstanceOf(RowError);
        return (error as RowError).message;
      },
    );
  expect(await run(size)).toEqual(await run(1000));
});
