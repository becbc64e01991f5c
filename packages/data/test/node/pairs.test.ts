import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fc, test } from '@fast-check/vitest';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { encodeRows, RowError, type TextOptions } from '../../src/index';
import { loadPairs, loadTokenizerFolder, readPairs, readRows } from '../../src/node';
import { collect, fixture } from '../fixtures';

const dir = mkdtempSync(join(tmpdir(), 'wpo-data-'));
afterAll(() => rmSync(dir, { recursive: true }));

const write = (name: string, content: string) => {
  const path = join(dir, name);
  writeFileSync(path, content);
  return path;
};
const row = (name: string) => `{"prompt": "q", "chosen": "${name}", "rejected": "r"}`;

let text: TextOptions;
beforeAll(async () => {
  text = await loadTokenizerFolder(fixture('tiny'));
});

describe('readPairs', () => {
  const rejected = row('c').replace('"q"', '[{"role": "system", "content": "s"}]');
  const long = row('long '.repeat(20_000)); // fills a batch
  const lines = fc.array(fc.constantFrom(row('a'), row('b'), long, rejected, 'nonsense', ''), { maxLength: 8 });

  test.prop([lines, fc.constantFrom('error' as const, 'skip' as const)], { numRuns: 12 })(
    'yields the pairs, reports and errors of encodeRows(readRows(path)), in their order',
    async (lines, onBadRow) => {
      const path = write('lines.jsonl', lines.join('\n'));
      const seen = async (read: typeof readPairs) => {
        const all: unknown[] = [];
        const onSkip = ({ message }: RowError) => all.push(message);
        try {
          for await (const pair of read(path, { ...text, onBadRow, onSkip })) all.push(pair);
        } catch (error) {
          all.push(error instanceof RowError, (error as Error).message);
        }
        return all;
      };
      expect(await seen(readPairs)).toEqual(
        await seen((path, options) => encodeRows(readRows(path, options), options)),
      );
    },
  );

  it.each([-1, 1.5, Number.NaN])('rejects %d workers', async (workers) => {
    const path = write('a.jsonl', row('a'));
    await expect(collect(readPairs(path, { ...text, workers }))).rejects.toThrow(
      `workers: expected a number of threads, an integer of at least 0, found ${workers}`,
    );
  });
});

describe('loadPairs', () => {
  it('reads and encodes a file, and counts rows that cannot be read or encoded', async () => {
    const rejected = row('c').replace('"q"', '[{"role": "system", "content": "s"}]');
    const path = write('f.jsonl', [row('a'), 'nonsense', row('b'), rejected].join('\n'));
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

  it('fails if no pair is left', async () => {
    await expect(loadPairs(write('g.jsonl', '\n'), text)).rejects.toThrow(
      'expected at least one preference pair, found none.',
    );
    await expect(loadPairs(write('h.jsonl', '{}\n{}'), { ...text, onBadRow: 'skip' })).rejects.toThrow(
      'All 2 rows were skipped; the first: ',
    );
  });
});
