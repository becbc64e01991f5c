import { describe, expect, it } from 'vitest';
import { type Columns, layoutOf, rowParser } from '../../src/rows/layouts';
import { preferenceRows } from '../../src/rows/read-rows';
import { collect, thrown } from '../fixtures';

const at = { file: 'f.jsonl', line: 1 };
const parse = (row: unknown, columns?: Columns) => rowParser(columns)(row, at);
const messageOf = (run: () => unknown) => (thrown(run) as Error).message;

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
  ])('recognizes %s by its columns', (layout, row) => {
    expect(layoutOf(row)).toBe(layout);
  });

  it('recognizes a row with a prompt as plain, even if an answer looks like a transcript', () => {
    expect(layoutOf({ prompt: 'p', chosen: 'Human: c', rejected: 'r' })).toBe('plain');
  });
});

describe('HH-RLHF', () => {
  const before =
    '\n\nHuman: What is a dam?\n\nAssistant: A wall.\n\nIt holds water.\n\nHuman: Who builds them?\n\nAssistant:';

  it('splits a transcript at its speakers and keeps blank lines inside a message', () => {
    const row = parse({ chosen: `${before} Beavers do.`, rejected: `${before} No idea.\n` });
    expect(row).toMatchObject({ chosen: 'Beavers do.', rejected: 'No idea.' });
    expect(row.context).toEqual([
      { role: 'user', content: 'What is a dam?' },
      { role: 'assistant', content: 'A wall.\n\nIt holds water.' },
      { role: 'user', content: 'Who builds them?' },
    ]);
  });

  it('rejects transcripts with different messages before the answers, and empty answers', () => {
    const other = '\n\nHuman: Another question.\n\nAssistant: x';
    expect(messageOf(() => parse({ chosen: `${before} x`, rejected: other }))).toContain(
      'f.jsonl:1: rejected: expected the same messages before both answers, found a difference from "chosen" in message 1',
    );
    expect(messageOf(() => parse({ chosen: `${before} x`, rejected: before }))).toContain('found an empty answer');
    expect(messageOf(() => parse({ chosen: '\n\nHuman: p', rejected: `${before} x` }))).toContain(
      '"assistant" in the last message',
    );
    expect(messageOf(() => parse({ chosen: `${before} x`, rejected: 'plain text' }))).toContain(
      'expected a transcript',
    );
    expect(messageOf(() => parse({ chosen: `${before} x`, rejected: null }))).toContain('found no text');
  });
});

describe('Orca', () => {
  it('puts the system text before the question', () => {
    const row = { system: 'Be brief.', question: 'Why?', chosen: 'So.', rejected: 'Because of this.' };
    expect(parse(row).context).toEqual([{ role: 'user', content: 'Be brief.\n\nWhy?' }]);
    expect(parse({ ...row, system: '' }).context).toEqual([{ role: 'user', content: 'Why?' }]);
    expect(parse({ ...row, system: null }).context).toEqual([{ role: 'user', content: 'Why?' }]);
  });

  it('rejects a row without a question', () => {
    expect(messageOf(() => parse({ system: 's', chosen: 'c', rejected: 'r' }))).toContain(
      'prompt: expected the text that "chosen" answers, found nothing',
    );
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

  it('name the columns of the fields', () => {
    const row = parse({ instruction: 'p', a: 'c', b: 'r', key: 7, x: 2, y: 1, chosen: 'not this' }, columns);
    expect(row).toMatchObject({ id: '7', chosen: 'c', rejected: 'r', scores: { chosen: 2, rejected: 1 } });
    expect(row.context).toEqual([{ role: 'user', content: 'p' }]);
  });

  it('are named in errors', () => {
    const row = { instruction: 'p', a: [{ role: 'user', content: 'q' }], b: 'r', key: 1, x: 1, y: 1 };
    expect(messageOf(() => parse(row, columns))).toMatch(/^f.jsonl:1: a\[0\].role: expected .*, found "user"/);
  });

  it('must exist in the first row', () => {
    expect(messageOf(() => parse({ instruction: 'p', a: 'c' }, columns))).toBe(
      'f.jsonl:1: b: expected the column that was named for "rejected", found the columns "instruction", "a". Name a column that the rows have.',
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

  it('decides the layout of the rows after it', async () => {
    const transcript = '\n\nHuman: p\n\nAssistant: c';
    const rows = await collect(preferenceRows(records([plain, { ...plain, chosen: transcript }])));
    expect(rows[1]?.chosen).toBe(transcript);
  });

  it('is rejected with a list of its columns if no layout fits', async () => {
    await expect(collect(preferenceRows(records([{ text: 't', label: 1 }])))).rejects.toThrow(
      'f:1: expected "prompt", "chosen" and "rejected", or the columns of UltraFeedback, HH-RLHF or Orca pairs, found the ' +
        'columns "text", "label". Name the columns that hold them: columns: {prompt: …, chosen: …, rejected: …}.',
    );
  });

  it('may be skipped, so that the next one decides; each file is recognized separately', async () => {
    const skipped: string[] = [];
    const rows = preferenceRows(
      [...records([{ text: 't' }, plain]), ...records([{ question: 'q', chosen: 'c', rejected: 'r' }], 'g')],
      { onBadRow: 'skip', onSkip: ({ message }) => skipped.push(message) },
    );
    expect((await collect(rows)).map(({ context }) => context[0]?.content)).toEqual(['p', 'q']);
    expect(skipped).toHaveLength(1);
  });
});
