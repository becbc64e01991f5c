import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { readRows } from '../../src/node';
import { collect } from '../fixtures';

const dir = mkdtempSync(join(tmpdir(), 'wpo-data-'));
afterAll(() => rmSync(dir, { recursive: true }));

const write = (name: string, content: string) => {
  const path = join(dir, name);
  writeFileSync(path, content);
  return path;
};
const row = (name: string) => `{"prompt": "q", "chosen": "${name}", "rejected": "r"}`;

describe('readRows', () => {
  it('distinguishes a JSON array from lines by the content, for any name', async () => {
    for (const name of ['a.json', 'a.txt', 'a']) {
      expect((await collect(readRows(write(name, `[${row('x')}]`)))).length).toBe(1);
      expect((await collect(readRows(write(name, `${row('x')}\n${row('y')}`)))).length).toBe(2);
    }
  });

  it('reads all rows of a JSON array in a file named .jsonl', async () => {
    const text = `[\n${row('x')},\n${row('y')}\n]\n`;
    const rows = await collect(readRows(write('b.jsonl', text), { onBadRow: 'skip' }));
    expect(rows.map(({ chosen, at }) => [chosen, at.line])).toEqual([
      ['x', 2],
      ['y', 3],
    ]);
  });

  it.each([
    ['xlsx', 'PK\x03\x04\x14', 'a spreadsheet', 'read_excel("rows.xlsx")'],
    ['pkl', 'q\n', 'a Python pickle', 'read_pickle("rows.pkl")'],
  ])('names a file .%s for what it is', async (ending, content, found, hint) => {
    const error: Error = await collect(readRows(write(`rows.${ending}`, content), { onBadRow: 'skip' })).catch(
      (error) => error,
    );
    expect(error.message).toContain(`expected JSONL or JSON as UTF-8 text, found ${found}. Convert it to JSONL`);
    expect(error.message).toContain(hint);
    expect(await collect(readRows(write(`rows.${ending}`, `${row('x')}\n`)))).toHaveLength(1); // the name alone is no reason
  });

  it('names the file as the caller did, in rows and in errors', async () => {
    const path = write('c.jsonl', `${row('x')}\n{"chosen": null}\n`);
    const rows = readRows(path);
    expect((await rows.next()).value).toMatchObject({ id: `${path}:1`, at: { file: path, line: 1 } });
    await expect(rows.next()).rejects.toThrow(
      `${path}:2: chosen: expected an answer: text, or a list of {role, content}, found nothing`,
    );
  });

  it('reads a file of many chunks to the end', async () => {
    const path = write('d.jsonl', Array.from({ length: 5000 }, (_, i) => row(`${i} ${'é'.repeat(300)}`)).join('\n'));
    const rows = await collect(readRows(path));
    expect(rows.map(({ at }) => at.line)).toEqual(Array.from({ length: 5000 }, (_, i) => i + 1));
    expect(rows.every(({ chosen }, i) => chosen === `${i} ${'é'.repeat(300)}`)).toBe(true);
  });

  it.runIf(process.platform === 'linux')('closes the file when stopped early', async () => {
    const path = write('e.jsonl', `${row('x')}\n`.repeat(50_000));
    const before = readdirSync('/proc/self/fd').length;
    for (let i = 0; i < 20; i++) {
      for await (const _ of readRows(path)) break;
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(readdirSync('/proc/self/fd').length).toBeLessThan(before + 10);
  });

  it('explains why a path cannot be read', async () => {
    await expect(collect(readRows(join(dir, 'none.jsonl')))).rejects.toThrow(
      'none.jsonl: expected a JSONL, JSON, CSV, TSV, Parquet or Arrow file, found no such file. Check the path.',
    );
  });
});
