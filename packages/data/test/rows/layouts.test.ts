import { describe, expect, it } from 'vitest';
import { type Columns, layoutOf, preferenceRows, rowParser } from '../../src/index';
import { collect, thrown } from '../fixtures';

const at = { file: 'f.jsonl', line: 1 };
const parse = (row: unknown, columns?: Columns) => rowParser(columns)(row, at);
const said = (run: () => unknown) => (thrown(run) as Error).message;

describe('layoutOf', () => {
  it.each([
    ['plain', { prompt: 'p', chosen: 'c', rejected: 'r' }],
    ['plain', { chosen: [{ role: 'user', content: 'p' }], rejected: [] }],
    ['plain', { prompt: 'p', system: null, chosen: 'c', rejected: 'r' }],
    ['hh-rlhf', { chosen: '\n\nHuman: p\n\nAssistant: c', rejected: '\n\nHuman: p\n\nAssistant: r' }],
    ['orca', { system: '', question: 'p', chosen: 'c', rejected: 'r' }],
    ['orca', { input: 'p', chosen: 'c', rejected: 'r' }],
    ['ultrafeedback', { instruction: 'p', completions: [] }],
    [undefined, { instruction: 'p', output: 'c' }],
    [undefined, {}],
  ])('tells %s by its columns', (layout, row) => {
    expect(layoutOf(row)).toBe(layout);
  });

  it('takes a plain row with a transcript for its prompt’s answer as plain', () => {
    expect(layoutOf({ prompt: 'p', chosen: 'Human: c', rejected: 'r' })).toBe('plain');
  });
});

describe('HH-RLHF', () => {
  const before =
    '\n\nHuman: What is a dam?\n\nAssistant: A wall.\n\nIt holds water.\n\nHuman: Who builds them?\n\nAssistant:';

  it('splits a transcript at its speakers, blank lines inside a turn kept', () => {
    const row = parse({ chosen: `${before} Beavers do.`, rejected: `${before} No idea.\n` });
    expect(row).toMatchObject({ chosen: 'Beavers do.', rejected: 'No idea.' });
    expect(row.context).toEqual([
      { role: 'user', content: 'What is a dam?' },
      { role: 'assistant', content: 'A wall.\n\nIt holds water.' },
      { role: 'user', content: 'Who builds them?' },
    ]);
  });

  it('refuses transcripts that do not answer the same turns, and answers that are empty', () => {
    const other = '\n\nHuman: Another question.\n\nAssistant: x';
    expect(said(() => parse({ chosen: `${before} x`, rejected: other }))).toContain(
      'f.jsonl:1: "rejected": found turn 1',
    );
    expect(said(() => parse({ chosen: `${before} x`, rejected: before }))).toContain('found an empty answer');
    expect(said(() => parse({ chosen: '\n\nHuman: p', rejected: `${before} x` }))).toContain(
      '"assistant" as the last turn',
    );
    expect(said(() => parse({ chosen: `${before} x`, rejected: 'plain text' }))).toContain('wanted a transcript');
    expect(said(() => parse({ chosen: `${before} x`, rejected: null }))).toContain('"rejected": found no text');
  });
});

describe('Orca', () => {
  it('puts the system text in front of the question', () => {
    const row = { system: 'Be brief.', question: 'Why?', chosen: 'So.', rejected: 'Because of this.' };
    expect(parse(row).context).toEqual([{ role: 'user', content: 'Be brief.\n\nWhy?' }]);
    expect(parse({ ...row, system: '' }).context).toEqual([{ role: 'user', content: 'Why?' }]);
    expect(parse({ ...row, system: null }).context).toEqual([{ role: 'user', content: 'Why?' }]);
  });

  it('refuses a row without a question', () => {
    expect(said(() => parse({ system: 's', chosen: 'c', rejected: 'r' }))).toContain('"prompt": found nothing');
  });
});

describe('columns', () => {
  const columns = {
    prompt: 'instruction',
    chosen: 'a',
    rejected: 'b',
    id: 'key',
    score_chosen: 'x',
    score_rejected: 'y',
  };

  it('say where fields lie', () => {
    const row = parse({ instruction: 'p', a: 'c', b: 'r', key: 7, x: 2, y: 1, chosen: 'not this' }, columns);
    expect(row).toMatchObject({ id: '7', chosen: 'c', rejected: 'r', scores: { chosen: 2, rejected: 1 } });
    expect(row.context).toEqual([{ role: 'user', content: 'p' }]);
  });

  it('are names in errors too', () => {
    const row = { instruction: 'p', a: [{ role: 'user', content: 'q' }], b: 'r', key: 1, x: 1, y: 1 };
    expect(said(() => parse(row, columns))).toMatch(/^f.jsonl:1: "a\[0\].role": found "user"/);
  });

  it('must be there, in the first row at least', () => {
    expect(said(() => parse({ instruction: 'p', a: 'c' }, columns))).toBe(
      'f.jsonl:1: "b": found the columns "instruction", "a", wanted the column named for "rejected". Name a column that the rows have.',
    );
    const next = rowParser({ prompt: 'q', id: 'key' });
    next({ q: 'p', chosen: 'c', rejected: 'r', key: 1 }, at);
    expect(next({ q: 'p', chosen: 'c', rejected: 'r' }, at).id).toBe('f.jsonl:1');
  });

  it('combine with a layout', () => {
    const row = { sys: 'Be brief.', q: 'Why?', chosen: 'c', rejected: 'r' };
    expect(parse(row, { system: 'sys', prompt: 'q' }).context[0]?.content).toBe('Be brief.\n\nWhy?');
  });
});

describe('a file’s first row', () => {
  const plain = { prompt: 'p', chosen: 'c', rejected: 'r' };
  const records = (rows: unknown[], file = 'f') => rows.map((value, i) => ({ value, at: { file, line: i + 1 } }));

  it('decides the layout for the rows after', async () => {
    const transcript = '\n\nHuman: p\n\nAssistant: c';
    const rows = await collect(preferenceRows(records([plain, { ...plain, chosen: transcript }])));
    expect(rows[1]?.chosen).toBe(transcript);
  });

  it('lists its columns where no layout fits', async () => {
    await expect(collect(preferenceRows(records([{ text: 't', label: 1 }])))).rejects.toThrow(
      'f:1: found the columns "text", "label", wanted "prompt", "chosen" and "rejected", or the columns of UltraFeedback, ' +
        'HH-RLHF or Orca pairs. Say which column holds what: columns: {prompt: …, chosen: …, rejected: …}.',
    );
  });

  it('may be skipped, and the next decides; each file is told by itself', async () => {
    const skipped: string[] = [];
    const rows = preferenceRows(
      [...records([{ text: 't' }, plain]), ...records([{ question: 'q', chosen: 'c', rejected: 'r' }], 'g')],
      { onBadRow: 'skip', onSkip: ({ message }) => skipped.push(message) },
    );
    expect((await collect(rows)).map(({ context }) => context[0]?.content)).toEqual(['p', 'q']);
    expect(skipped).toHaveLength(1);
  });
});
