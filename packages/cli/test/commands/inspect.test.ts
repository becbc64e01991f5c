import '@wpo/tensorflow';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { loadPairs, loadTokenizerFolder } from '@wpo/data/node';
import { expect, test } from 'vitest';
import type { Inspection } from '../../src/index';
import { sourceWeights } from '../../src/inspect/source-weights';
import { main } from '../../src/main';
import { modelFolder, pairsFile, temporaryFolder } from '../golden';
import { capture } from '../wpo';

async function inspected(args: string[]): Promise<{ out: string; err: string; status: number }> {
  const terminal = capture();
  const status = await main(['inspect', ...args], terminal);
  return { out: terminal.out(), err: terminal.err(), status };
}

function pairs(rows: object[]): string {
  const file = join(temporaryFolder(), 'pairs.jsonl');
  writeFileSync(file, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  return file;
}

const ROWS = [
  {
    id: 'one',
    prompt: 'Name a river.',
    chosen: 'The Danube, for one.',
    rejected: 'No.',
    score_chosen: 8,
    score_rejected: 3,
  },
  {
    id: 'two',
    prompt: 'Name a lake.',
    chosen: 'Baikal.',
    rejected: 'The Danube river.',
    score_chosen: 4,
    score_rejected: 5,
  },
].map((row) => ({ ...row, source_chosen: 'gemma', source_rejected: 'gpt-4-turbo' }));

test('counts system turns and prompts inside the answers, and reads the former as training does', async () => {
  const turns = (answer: string) => [
    { role: 'system', content: 'Be brief.' },
    { role: 'user', content: 'Name a river.' },
    { role: 'assistant', content: answer },
  ];
  const file = pairs([
    { chosen: turns('The Danube.'), rejected: turns('No.') },
    { chosen: 'Q: Name a lake. A: Baikal.', rejected: 'Q: Name a lake. A: No.' },
  ]);
  const { out } = await inspected([file, '--tokenizer', modelFolder, '--system-role', 'merge']);
  expect(out).toContain(`${file}: 2 pairs\n`);
  expect(out).toContain('1 row has system turns, which Gemma’s chat template refuses. With system_role: merge');
  expect(out).toContain('1 row has no prompt: the beginning that both answers share was taken as the prompt');
  expect(out).toContain(
    `Verdict: decide these first.\n  1 row without a column for the prompt\nNext: wpo init --model ${modelFolder} --data ${file} --out run.yaml`,
  );
  const refused = await inspected([file, '--tokenizer', modelFolder]);
  expect(refused.out).toContain(`${file}: 1 pair, and 1 row that cannot be used`);
  expect(refused.err).toContain('set system_role to "merge"');
});

test('prints counts, lengths in words, length bias, margins, sources, repeats, and rows worth a look', async () => {
  const file = pairs([...ROWS, ROWS[0]!, { prompt: 'x', chosen: 'y' }]);
  const { out, err, status } = await inspected([file]);
  expect(status).toBe(0);
  expect(out).toContain(`${file}: 3 pairs, and 1 row that cannot be used`);
  expect(out).toMatch(/prompt \+ longer answer +7 +6/);
  expect(out).toContain(
    'The chosen answer is longer in 2 (66.7 %) pairs, shorter in 1 (33.3 %), and equally long in 0 (0.0 %).',
  );
  expect(out).toContain('0 margins are 0; 1 are negative');
  expect(out).toMatch(/gemma +3 \(100\.0 %\) +0 \(0\.0 %\) +3 +6\.667/);
  expect(out).toContain('Repeated: 1 prompt, 1 entire pair, 1 id. Pairs with two equal answers: 0.');
  expect(out).toMatch(new RegExp(`smallest margin +-1 +${file}:2 +two`));
  expect(out).toContain('Add --tokenizer or --model');
  expect(out).toContain(
    'Verdict: decide these first.\n  1 row cannot be used, which stops a run: fix them, or set on_bad_row: skip\n' +
      `  1 row whose rejected answer has the higher score\nNext: wpo inspect ${file} --tokenizer MODEL`,
  );
  expect(err).toMatch(
    /pairs\.jsonl: skipped 1 row that cannot be used:\n.*pairs\.jsonl:4: rejected: expected .*, found nothing/,
  );
});

test('writes a page with the results and examples of what was found', async () => {
  const file = pairs([...ROWS, { prompt: 'x', chosen: 'y' }]);
  const page = join(temporaryFolder(), 'new', 'page.html');
  const { out, err } = await inspected([file, '--html', page, '--json']);
  expect(err).toContain(`Page: ${page}\n`);
  const embedded = /<script type="application\/json" id="data">(.*?)<\/script>/s.exec(readFileSync(page, 'utf8'))![1]!;
  const report = JSON.parse(out) as Inspection;
  expect(JSON.parse(embedded)).toEqual({ inspections: [report] });
  expect(report.badRowErrors).toEqual([expect.stringContaining('rejected: expected')]);
  expect(report.verdict.findings.map(({ rows, kind }) => [rows, kind])).toEqual([
    [1, 'badRows'],
    [1, 'margin'],
  ]);
  expect(report.worst.margin[0]).toMatchObject({ id: 'two', prompt: 'Name a lake.', chosen: 'Baikal.' });
});

test('with a tokenizer, lengths and cuts are the same as in training', async () => {
  const limits = { maxLength: 40, maxPromptLength: 20 };
  const flags = ['--max-length', '40', '--max-prompt-length', '20'];
  const { out } = await inspected([pairsFile, '--tokenizer', modelFolder, ...flags, '--json']);
  const report = JSON.parse(out) as Inspection;
  const { pairs: encoded } = await loadPairs(pairsFile, { ...(await loadTokenizerFolder(modelFolder)), ...limits });
  expect(report).toMatchObject({ unit: 'tokens', pairs: encoded.length, badRows: 0 });
  const kept = encoded.reduce((sum, pair) => sum + pair.prompt.length + pair.chosen.length + pair.rejected.length, 0);
  const { prompt, chosen, rejected } = report.lengths;
  const whole = report.pairs * (prompt!.mean + chosen!.mean + rejected!.mean);
  const { promptTokens, answerTokens, pairs } = report.cuts!;
  expect(pairs).toBeGreaterThan(0);
  expect(whole - promptTokens - answerTokens).toBeCloseTo(kept, 6);
});

test('the next command has the flags that the file is read with, as a shell reads them', async () => {
  const { prompt, ...others } = ROWS[0]!;
  const file = pairs([{ ...others, 'the question': prompt }]);
  const columns = ['--columns', 'prompt=the question'];
  const shown = `${file} --columns 'prompt=the question'`;
  expect((await inspected([file, ...columns])).out).toContain(`Next: wpo inspect ${shown} --tokenizer MODEL, to see`);
  expect((await inspected([file, ...columns, '--tokenizer', modelFolder])).out).toContain(
    `Next: wpo init --model ${modelFolder} --data ${shown} --out run.yaml, to write`,
  );
});

test('with a model, prints mean weights by source for a sample of the pairs', async () => {
  const file = pairs(ROWS);
  const { out } = await inspected([file, '--model', modelFolder, '--json']);
  const { weights } = JSON.parse(out) as Inspection;
  expect(weights).toMatchObject({ pairs: 2, sources: { gemma: { answers: 2 }, 'gpt-4-turbo': { answers: 2 } } });
  expect(weights!.bySources).toEqual([{ chosen: 'gemma', rejected: 'gpt-4-turbo', pairs: 2, weight: weights!.mean }]);
  const shown = await inspected([file, '--model', modelFolder, '--weigh', '1']);
  expect(shown.out).toMatch(/gemma vs\. gpt-4-turbo +1 +0\.\d{3}\n +all weighed pairs +1 +0\.\d{3}/);
});

test('answers are averaged by source, pairs by both of their sources', () => {
  const scores = (sampled: number, none: number) => ({ sampled, greedy: 0, none });
  const pair = (weight: number, chosen: [string, number, number], rejected: [string, number, number]) => ({
    weighed: {
      weight,
      scores: { chosen: scores(chosen[1], chosen[2]), rejected: scores(rejected[1], rejected[2]) },
    },
    sources: { chosen: chosen[0], rejected: rejected[0] },
  });
  const found = sourceWeights([
    pair(0.5, ['own', 0.2, -1], ['far', Math.log(0.5), -3]),
    pair(0.25, ['far', Math.log(0.25), -5], ['own', 0, -2]),
    pair(0.75, ['own', Math.log(0.4), -3], ['far', 0, -4]),
  ]);
  expect(found.mean).toBe(0.5);
  expect(found.sources.own!.factor).toBeCloseTo((1 + 1 + 0.4) / 3, 12);
  expect(found.sources.own).toMatchObject({ answers: 3, logp: -2 });
  expect(found.sources.far!.factor).toBeCloseTo((0.5 + 0.25 + 1) / 3, 12);
  expect(found.bySources).toEqual([
    { chosen: 'own', rejected: 'far', pairs: 2, weight: 0.625 },
    { chosen: 'far', rejected: 'own', pairs: 1, weight: 0.25 },
  ]);
});

test('a missing file and a file without pairs are reported in one message', async () => {
  const empty = await inspected([pairs([])]);
  expect([empty.status, empty.err]).toEqual([
    1,
    expect.stringContaining('expected at least one preference pair, found none'),
  ]);
  const none = await inspected([join(temporaryFolder(), 'none.jsonl')]);
  expect(none.err).toContain('none.jsonl: expected a JSONL, JSON, CSV, TSV, Parquet or Arrow file, found no such file');
  expect(none.err).not.toContain('    at ');
});
