import { fc, test } from '@fast-check/vitest';
import { describe, expect, it } from 'vitest';
import { inspectPairs, type MeasuredLengths, type MeasuredRow, measureWords, parseRow } from '../../src/index';

const row = (line: number, fields: object) =>
  parseRow({ prompt: 'Why?', chosen: 'c', rejected: 'r', ...fields }, { file: 'f.jsonl', line });
const inspected = (line: number, measured: MeasuredLengths, fields: object = {}): MeasuredRow => ({
  row: row(line, fields),
  measured,
});
const lengths = (prompt: number, chosen: number, rejected: number) => ({ prompt, chosen, rejected });

describe('inspectPairs', () => {
  it('describes the lengths of the parts, and of the prompt with the longer answer', async () => {
    const report = await inspectPairs([inspected(1, lengths(10, 3, 5)), inspected(2, lengths(20, 9, 1))]);
    expect(report.pairs).toBe(2);
    expect(report.lengths.prompt).toMatchObject({ mean: 15, min: 10, max: 20 });
    expect(report.lengths.chosen).toMatchObject({ mean: 6, min: 3, max: 9 });
    expect(report.lengths.longest).toMatchObject({ mean: 22, min: 15, max: 29 });
  });

  it('counts which answer is longer', async () => {
    const pairs = [lengths(1, 3, 1), lengths(1, 4, 1), lengths(1, 2, 2), lengths(1, 1, 9)];
    const { lengthBias } = await inspectPairs(pairs.map((measured, i) => inspected(i, measured)));
    expect(lengthBias).toMatchObject({ chosenLonger: 2, equal: 1, rejectedLonger: 1, difference: { mean: -0.75 } });
  });

  it('counts what truncation removes, in pairs and tokens; nothing if it was not measured', async () => {
    const { cuts } = await inspectPairs([
      inspected(1, { ...lengths(10, 3, 5), kept: lengths(10, 3, 5) }),
      inspected(2, { ...lengths(10, 3, 5), kept: lengths(8, 3, 5) }),
      inspected(3, { ...lengths(10, 3, 5), kept: lengths(7, 2, 2) }),
    ]);
    expect(cuts).toEqual({ pairs: 2, prompts: 2, chosen: 1, rejected: 1, promptTokens: 5, answerTokens: 4 });
    expect((await inspectPairs([inspected(1, lengths(1, 1, 1))])).cuts).toBeUndefined();
  });

  it('describes the margins of rows that have scores, and counts margins of 0 and below', async () => {
    const scores = [
      [5, 2],
      [3, 3],
      [1, 4],
      [9, 1],
    ];
    const pairs = scores.map(([score_chosen, score_rejected], i) =>
      inspected(i + 1, lengths(1, 1, 1), { score_chosen, score_rejected }),
    );
    const report = await inspectPairs([...pairs, inspected(5, lengths(1, 1, 1), { score_chosen: 4 })]);
    expect(report.margins).toMatchObject({ count: 4, mean: 2, min: -3, max: 8 });
    expect([report.zeroMargins, report.negativeMargins]).toEqual([1, 1]);
    expect(report.worst.margin.map(({ at, value }) => [at, value])).toEqual([
      ['f.jsonl:3', -3],
      ['f.jsonl:2', 0],
      ['f.jsonl:1', 3],
    ]);
  });

  it('averages by source: sides, lengths, scores', async () => {
    const { sources } = await inspectPairs([
      inspected(1, lengths(1, 10, 4), { source_chosen: 'a', source_rejected: 'b', score_chosen: 3, score_rejected: 1 }),
      inspected(2, lengths(1, 20, 6), { source_chosen: 'b', source_rejected: 'b' }),
      inspected(3, lengths(1, 30, 6), { source: 'c' }),
      inspected(4, lengths(1, 30, 6), { source_chosen: 'a' }),
    ]);
    expect(sources).toEqual({
      a: { chosen: 1, rejected: 0, meanLength: 10, meanScore: 3 },
      b: { chosen: 1, rejected: 2, meanLength: 10, meanScore: 1 },
      c: { chosen: 1, rejected: 1, meanLength: 18, meanScore: undefined },
    });
  });

  it('counts repeated prompts, pairs and ids, and equal answers', async () => {
    const { repeats, worst } = await inspectPairs([
      inspected(1, lengths(1, 1, 1), { id: 'x' }),
      inspected(2, lengths(1, 1, 1), { id: 'x', chosen: 'other' }),
      inspected(3, lengths(1, 1, 1), { id: 'y' }),
      inspected(4, lengths(1, 7, 7), { id: 'z', prompt: 'How?', chosen: 'r' }),
    ]);
    expect(repeats).toEqual({ prompts: 2, pairs: 1, ids: 1, equalAnswers: 1 });
    expect(worst.repeated).toMatchObject([{ id: 'y', at: 'f.jsonl:3', value: 0 }]);
    const texts = { prompt: 'How?', chosen: 'r', rejected: 'r' };
    expect(worst.equalAnswers).toEqual([{ id: 'z', at: 'f.jsonl:4', value: 7, ...texts }]);
  });

  test.prop([fc.array(fc.nat(20), { minLength: 1, maxLength: 30 }), fc.nat(5)])(
    'reports the worst rows, of equal ones the first, and no more than asked for',
    async (prompts, limit) => {
      const rows = prompts.map((prompt, i) => inspected(i, lengths(prompt, 1, 1)));
      const { worst } = await inspectPairs(rows, { worst: limit });
      const sorted = prompts.map((prompt, i) => ({ prompt, i })).sort((a, b) => b.prompt - a.prompt || a.i - b.i);
      const expected = sorted.slice(0, limit).map(({ prompt, i }) => [`f.jsonl:${i}`, prompt + 1]);
      expect(worst.longest.map(({ at, value }) => [at, value])).toEqual(expected);
    },
  );

  it('counts a row that is given twice as one object twice, and reports no repeat', async () => {
    const row = inspected(1, lengths(2, 4, 1));
    const report = await inspectPairs([row, row]);
    expect(report).toMatchObject({ pairs: 2, repeats: { prompts: 0, pairs: 0, ids: 0 } });
    expect(report.worst.longest).toHaveLength(1);
    expect(report.histograms.difference).toEqual([{ low: 3, high: 4, count: 2 }]);
  });

  it('shows the beginnings of long texts, and the roles of several messages', async () => {
    const chosen = `${'x'.repeat(498)}\u{1f600}${'y'.repeat(9)}`;
    const prompt = [
      { role: 'system', content: '<bos>Be brief.' },
      { role: 'user', content: 'Why?' },
    ];
    const { worst } = await inspectPairs([inspected(1, lengths(1, 1, 1), { prompt, chosen })]);
    expect(worst.systemTurn).toMatchObject([
      { prompt: 'system: <bos>Be brief.\nuser: Why?', chosen: `${'x'.repeat(498)}…` },
    ]);
    expect(worst.controlTokens).toEqual(worst.systemTurn);
    expect(worst.sharedPrompt).toEqual([]);
  });

  it('reports no rows', async () => {
    const { pairs, lengths, margins, lengthBias } = await inspectPairs([]);
    expect([pairs, lengths.prompt, margins, lengthBias.difference]).toEqual([0, undefined, undefined, undefined]);
  });
});

it('measureWords counts words between whitespace, those of all prompt messages together', () => {
  const prompt = ['one two', 'three'].map((content) => ({ role: 'user', content }));
  expect(measureWords(row(1, { prompt, chosen: ' a  b\nc ', rejected: 'x' }))).toEqual(lengths(3, 3, 1));
});
