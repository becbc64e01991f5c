import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { RowError } from '../../src/index';
import { loadPairs, loadTokenizerFolder, readRows } from '../../src/node';
import { collect, fixture } from '../fixtures';

const dir = mkdtempSync(join(tmpdir(), 'wpo-data-'));
afterAll(() => rmSync(dir, { recursive: true }));

const write = (name: string, content: string) => {
  const path = join(dir, name);
  writeFileSync(path, content);
  return path;
};
const row = (name: string) => `{"prompt": "q", "chosen": "${name}", "rejected": "r"}`;

describe('readRows', () => {
  it('tells a JSON array from lines by what is in it, whatever the name', async () => {
    for (const name of ['a.json', 'a.txt', 'a']) {
      expect((await collect(readRows(write(name, `[${row('x')}]`)))).length).toBe(1);
      expect((await collect(readRows(write(name, `${row('x')}\n${row('y')}`)))).length).toBe(2);
    }
  });

  it('reads a file named .jsonl as lines alone', async () => {
    await expect(collect(readRows(write('b.jsonl', `[${row('x')}]`)))).rejects.toThrow('b.jsonl:1: found a list');
  });

  it('names the file as it was given, in rows and in errors', async () => {
    const path = write('c.jsonl', `${row('x')}\n{}\n`);
    const rows = readRows(path);
    expect((await rows.next()).value).toMatchObject({ id: `${path}:1`, at: { file: path, line: 1 } });
    await expect(rows.next()).rejects.toThrow(`${path}:2: "chosen": found nothing`);
  });

  it('reads a file of many chunks to the last row', async () => {
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

  it('says what a path is that cannot be read', async () => {
    await expect(collect(readRows(join(dir, 'none.jsonl')))).rejects.toThrow(
      'none.jsonl: found no such file, wanted a file of rows: JSONL, JSON or Parquet. Check the path.',
    );
  });
});

describe('loadPairs', () => {
  it('reads and encodes a file, counting rows that cannot be read or encoded', async () => {
    const text = await loadTokenizerFolder(fixture('tiny'));
    const refused = row('c').replace('"q"', '[{"role": "system", "content": "s"}]');
    const path = write('f.jsonl', [row('a'), 'nonsense', row('b'), refused].join('\n'));
    const seen: RowError[] = [];
    const { pairs, skipped } = await loadPairs(path, {
      ...text,
      onBadRow: 'skip',
      onSkip: (error) => seen.push(error),
    });
    expect(pairs.map(({ id }) => id)).toEqual([`${path}:1`, `${path}:3`]);
    expect(skipped.map(({ line }) => line)).toEqual([2, 4]);
    expect(seen).toEqual(skipped);
    await expect(loadPairs(path, text)).rejects.toThrow(RowError);
  });

  it('says so where no pair is left', async () => {
    const text = await loadTokenizerFolder(fixture('tiny'));
    await expect(loadPairs(write('g.jsonl', '\n'), text)).rejects.toThrow(
      'found no preference pairs, wanted at least one.',
    );
    await expect(loadPairs(write('h.jsonl', '{}\n{}'), { ...text, onBadRow: 'skip' })).rejects.toThrow(
      'All 2 rows were skipped; the first: ',
    );
  });
});
