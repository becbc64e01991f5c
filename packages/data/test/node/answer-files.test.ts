import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { fc, test } from '@fast-check/vitest';
import { afterAll, expect, it } from 'vitest';
import { pairAnswerFiles } from '../../src/node';
import { pairAnswers } from '../../src/pairing/index';
import { collect } from '../fixtures';

const dir = mkdtempSync(join(tmpdir(), 'wpo-answers-'));
afterAll(() => rmSync(dir, { recursive: true }));

const write = (name: string, content: string | Uint8Array) => {
  const path = join(dir, name);
  writeFileSync(path, content);
  return path;
};
const answer = (prompt: string, completion: string, score: number, source = 'own') =>
  JSON.stringify({ prompt_id: prompt, prompt, completion, source, score });

it('pairs answers of several files, in any order, and reads the right rows again', async () => {
  const own = write(
    'own.jsonl',
    `\ufeff${answer('ä', 'Grüße 🙂', 1)}\r\n\r\n${answer('b', '“b”', 5)}\n  ${answer('ä', 'ß', 3)}`,
  );
  const offPolicy = write('off-policy.jsonl', `${answer('b', '好', 7, 'far')}\n\n${answer('ä', 'é', 2, 'far')}\n`);
  const { rows, summary } = await pairAnswerFiles([own, offPolicy]);
  expect((await collect(rows)).map((row) => [row.prompt, row.chosen, row.rejected, row.source_rejected])).toEqual([
    ['ä', 'ß', 'Grüße 🙂', 'own'],
    ['b', '好', '“b”', 'own'],
  ]);
  expect(summary()).toMatchObject({ answers: 5, prompts: 2, pairs: 2, sources: { far: { answers: 2, chosen: 1 } } });
});

const scored = fc.record({
  prompt_id: fc.constantFrom('p', 'q', 'r'),
  prompt: fc.constant('?'),
  completion: fc.string({ unit: 'grapheme', maxLength: 5 }),
  source: fc.constantFrom('own', 'other'),
  score: fc.option(fc.double({ noNaN: true, noDefaultInfinity: true })),
});

test.prop([fc.array(scored, { maxLength: 20 }), fc.array(scored, { maxLength: 20 })], { numRuns: 30 })(
  'returns the same pairs and summary as pairAnswers for the same rows',
  async (first, second) => {
    const files = [first, second].map((rows, i) =>
      write(`${i}.jsonl`, rows.map((row) => `${JSON.stringify(row)}\n`).join('')),
    );
    const [streamed, held] = [await pairAnswerFiles(files), await pairAnswers([...first, ...second])];
    const jsonRows = JSON.parse(JSON.stringify(await collect(held.rows)));
    expect(await collect(streamed.rows)).toEqual(jsonRows);
    expect(streamed.summary()).toEqual(held.summary());
  },
);

it('names file and line of a row that is not a scored answer, or skips it with onBadRow skip', async () => {
  const file = write('bad.jsonl', `${answer('a', 'x', 1)}\n{"prompt": \n${answer('a', 'y', 2)}\n{"prompt": "q"}\n`);
  await expect(pairAnswerFiles([file])).rejects.toThrow(
    `${file}:2: expected one JSON object, found JSON that is cut off`,
  );
  const lines: number[] = [];
  const { rows } = await pairAnswerFiles([file], { onBadRow: 'skip', onSkip: ({ line }) => lines.push(line) });
  expect((await collect(rows)).map(({ chosen, rejected }) => [chosen, rejected])).toEqual([['y', 'x']]);
  expect(lines).toEqual([2, 4]);
});

it('explains why a file cannot be read: it is missing, is compressed, or has changed', async () => {
  await expect(pairAnswerFiles([join(dir, 'none.jsonl')])).rejects.toThrow(
    'none.jsonl: expected a JSONL, JSON, CSV, TSV, Parquet or Arrow file, found no such file',
  );
  await expect(pairAnswerFiles([write('packed.jsonl', gzipSync(answer('a', 'x', 1)))])).rejects.toThrow(
    'packed.jsonl:1: expected JSONL or JSON as UTF-8 text, found a gzip file',
  );
  const file = write('changed.jsonl', `${answer('a', 'x', 1)}\n${answer('a', 'y', 2)}\n`);
  const { rows } = await pairAnswerFiles([file]);
  write('changed.jsonl', answer('a', 'x', 1));
  await expect(collect(rows)).rejects.toThrow(`${file}:2: expected the row that was there before, found another`);
});

it.runIf(process.platform === 'linux')('closes its files, whether stopped early or not', async () => {
  const rows = Array.from({ length: 40 }, (_, i) => answer(`p${i % 20}`, `${i}`, i));
  const file = write('many.jsonl', rows.join('\n'));
  const before = readdirSync('/proc/self/fd').length;
  for (let i = 0; i < 20; i++) for await (const _ of (await pairAnswerFiles([file])).rows) break;
  await collect((await pairAnswerFiles([file])).rows);
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(readdirSync('/proc/self/fd').length).toBeLessThan(before + 10);
});
