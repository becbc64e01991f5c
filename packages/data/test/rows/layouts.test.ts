import { describe, expect, it } from 'vitest';
import { type Columns, rowParser } from '../../src/rows/layouts';
import { preferenceRows } from '../../src/rows/read-rows';
import { collect, thrown } from '../fixtures';

const at = { file: 'f.jsonl', line: 1 };
const parse = (row: unknown, columns?: Columns) => rowParser(columns).parse(row, at);
const conversation = (prompt: string, answer: string) => [
  { role: 'user', content: prompt },
  { role: 'assistant', content: answer },
];
const response = (text: string, overall_score: number) => ({ model: 'm', response: text, overall_score });
const messageOf = (run: () => unknown) => (thrown(run) as Error).message;

describe('the columns of a row decide how it is read', () => {
  const transcript = (answer: string) => `\n\nHuman: p\n\nAssistant: ${answer}`;

  it.each([
    ['a prompt', { prompt: 'p', chosen: 'c', rejected: 'r' }],
    ['conversations', { chosen: conversation('p', 'c'), rejected: conversation('p', 'r') }],
    [
      'a prompt beside answers that look like transcripts',
      { prompt: 'p', chosen: 'Human: c', rejected: 'r' },
      'Human: c',
    ],
    ['transcripts', { chosen: transcript('c'), rejected: transcript('r') }],
    ['a question', { question: 'p', chosen: 'c', rejected: 'r' }],
    ['a question beside a prompt that is null', { prompt: null, question: 'p', chosen: 'c', rejected: 'r' }],
    ['an input', { input: 'p', chosen: 'c', rejected: 'r' }],
    ['an instruction', { instruction: 'p', chosen: 'c', rejected: 'r' }],
    ['an instruction with a blank input', { instruction: 'p', input: ' ', chosen: 'c', rejected: 'r' }],
    ['an input beside an empty instruction', { instruction: '', input: 'p', chosen: 'c', rejected: 'r' }],
    ['answers of UltraFeedback', { instruction: 'p', completions: [response('c', 5), response('r', 1)] }],
  ])('%s', (_, row, chosen = 'c') => {
    expect(parse(row)).toMatchObject({ context: [{ role: 'user', content: 'p' }], chosen });
  });

  it('an instruction is followed by its input', () => {
    const row = { instruction: 'Translate.', input: 'Fluss', chosen: 'c', rejected: 'r' };
    expect(parse(row).context).toEqual([{ role: 'user', content: 'Translate.\n\nFluss' }]);
  });

  it('a null value is an error of its row and not another layout', () => {
    expect(messageOf(() => parse({ instruction: 'p', completions: null }))).toContain('completions: expected');
    expect(messageOf(() => parse({ prompt: null, chosen: transcript('c'), rejected: transcript('r') }))).toContain(
      'prompt: expected the text that "chosen" answers, found nothing',
    );
  });
});

const turn = (from: string, value: string) => ({ from, value });

describe('ShareGPT', () => {
  const [asked, good, bad] = [turn('human', 'p'), turn('gpt', 'c'), turn('gpt', 'r')];

  it.each([
    ['a conversation and answers as messages', { conversations: [asked], chosen: good, rejected: bad }],
    ['a conversation and answers as lists', { conversations: [asked], chosen: [good], rejected: [bad] }],
    ['a conversation and answers as text', { conversations: [asked], chosen: 'c', rejected: 'r' }],
    ['whole conversations', { chosen: [asked, good], rejected: [asked, bad] }],
    ['the roles of OpenAI', { conversations: [turn('user', 'p')], chosen: turn('assistant', 'c'), rejected: bad }],
    ['OpenAI’s messages', { conversations: conversation('p', '').slice(0, 1), chosen: 'c', rejected: bad }],
  ])('%s', (_, row) => {
    expect(parse(row)).toMatchObject({ context: [{ role: 'user', content: 'p' }], chosen: 'c', rejected: 'r' });
  });

  it('keeps system turns, tools and all earlier turns', () => {
    const conversations = [turn('system', 's'), asked, turn('gpt', 'a'), turn('observation', 'o')];
    expect(parse({ conversations, chosen: good, rejected: bad }).context).toEqual([
      { role: 'system', content: 's' },
      { role: 'user', content: 'p' },
      { role: 'assistant', content: 'a' },
      { role: 'observation', content: 'o' },
    ]);
  });

  it('names fields as the file does', () => {
    const messageFor = (row: object) => messageOf(() => parse({ chosen: good, rejected: bad, ...row }));
    expect(messageFor({ conversations: [turn('human', 1 as never)] })).toBe(
      'f.jsonl:1: conversations[0].value: expected text, found the number 1. Write it as a string.',
    );
    expect(messageFor({ conversations: [asked, good] })).toContain(
      'f.jsonl:1: conversations[1].role: expected a message',
    );
    expect(messageFor({ conversations: [asked], rejected: asked })).toContain(
      'f.jsonl:1: rejected[0].role: expected "assistant" in the last message, the answer, found "user".',
    );
  });
});

describe('Alpaca', () => {
  const pair = { instruction: 'p', chosen: 'c', rejected: 'r' };

  it('puts the earlier turns of history before the instruction and its input', () => {
    const { context } = parse({ ...pair, input: 'i', history: [['q', 'a']], system: 's' });
    expect(context).toEqual([
      { role: 'user', content: 's\n\nq' },
      { role: 'assistant', content: 'a' },
      { role: 'user', content: 'p\n\ni' },
    ]);
    for (const history of [null, []]) expect(parse({ ...pair, history })).toMatchObject(parse(pair));
  });

  it.each(['q', [['q']], [['q', 1]], [{ q: 'a' }]])('refuses the history %j', (history) => {
    expect(messageOf(() => parse({ ...pair, history }))).toMatch(
      /^f\.jsonl:1: history(\[0\])?: expected a list of pairs of text: \[\[instruction, answer\], …\], found /,
    );
  });
});

describe('texts that begin with their prompt', () => {
  // each as trl.extract_prompt of TRL 1.16 splits it
  it.each([
    ['Capital of Italy? Rome.', 'Capital of Italy? Milan.', 'Capital of Italy?'],
    ['Q: 1+1? A: 2', 'Q: 1+1? A: 11', 'Q: 1+1? A:'],
    ['Say yes: yes', 'Say yes: yes, sir', 'Say yes: ye'],
    ['Same', 'Same', 'Sam'],
    ['naïve 😀 a', 'naïve 😁 b', 'naïve'],
    ['a  b', 'a  c', 'a '],
    ['xy', 'xz', 'x'],
  ])('%j and %j', (chosen, rejected, prompt) => {
    expect(parse({ chosen, rejected, score_chosen: 1 })).toMatchObject({
      context: [{ role: 'user', content: prompt }],
      chosen: chosen.slice(prompt.length),
      rejected: rejected.slice(prompt.length),
      sharedPrompt: true,
      plainText: true,
    });
  });

  it('are refused where they begin differently, or another column may hold the prompt', () => {
    const chosen = 'The Po.';
    expect(messageOf(() => parse({ chosen, rejected: 'No.' }))).toBe(
      'f.jsonl:1: expected "prompt", or answers that begin with their prompt, found answers that begin differently. Name ' +
        'the column of the prompt: columns: {prompt: …}.',
    );
    expect(messageOf(() => parse({ chosen, rejected: 'The Nile.', user_query: 'A river?' }))).toContain(
      'found the columns "chosen", "rejected", "user_query". Name the column',
    );
    expect(
      parse({ chosen, rejected: 'The Nile.', user_query: 'A river?' }, { prompt: 'user_query' }),
    ).not.toHaveProperty('sharedPrompt');
  });
});

describe('a system column is put before the first user message', () => {
  const [chosen, rejected] = [conversation('p', 'c'), conversation('p', 'r')];
  const joined = [{ role: 'user', content: 'Be brief.\n\np' }];
  const system = 'Be brief.';

  it.each([
    ['a prompt', { prompt: 'p', chosen: 'c', rejected: 'r' }],
    ['a question', { question: 'p', chosen: 'c', rejected: 'r' }],
    ['message lists', { chosen, rejected }],
    ['a prompt and message lists', { prompt: 'p', chosen, rejected }],
    ['a list as the prompt', { prompt: [{ role: 'user', content: 'p' }], chosen: 'c', rejected: 'r' }],
    ['transcripts', { chosen: '\n\nHuman: p\n\nAssistant: c', rejected: '\n\nHuman: p\n\nAssistant: r' }],
    ['UltraFeedback', { instruction: 'p', completions: [response('c', 5), response('r', 1)] }],
    ['a user message that begins with it', { prompt: 'Be brief.\n\np', chosen: 'c', rejected: 'r' }],
  ])('beside %s', (_, row) => {
    expect(parse({ ...row, system }).context).toEqual(joined);
    expect(parse({ ...row, system_prompt: system }).context).toEqual(joined);
    expect(parse({ ...row, instructions: system }, { system: 'instructions' }).context).toEqual(joined);
    expect(parse({ ...row, system, system_prompt: 'In English.' }).context[0]?.content).toContain('In English.');
  });

  it('of one row or of none, whatever the first row has', async () => {
    const pair = { prompt: 'p', chosen: 'c', rejected: 'r' };
    const rows = [
      { ...pair, system: null },
      { ...pair, system },
      pair,
      { ...pair, system: Number.NaN },
      { ...pair, system },
    ];
    const records = rows.map((value, i) => ({ value, at: { file: 'f', line: i + 1 } }));
    const read = await collect(preferenceRows(records));
    expect(read.map(({ context }) => context[0]?.content)).toEqual(
      ['p', joined, 'p', 'p', joined].map((expected) =>
        typeof expected === 'string' ? expected : expected[0]?.content,
      ),
    );
  });

  it('once, where the list has it as a system message', () => {
    const turns = (answer: string) => [{ role: 'system', content: system }, ...conversation('p', answer)];
    expect(parse({ system, chosen: turns('c'), rejected: turns('r') }).context).toEqual(turns('c').slice(0, 2));
  });

  it('also if it is only the beginning of the first word', () => {
    expect(parse({ system: 'A', prompt: 'A river?', chosen: 'c', rejected: 'r' }).context[0]?.content).toBe(
      'A\n\nA river?',
    );
  });

  it('must be text', () => {
    const row = { prompt: 'p', chosen: 'c', rejected: 'r', system: [{ role: 'system', content: 's' }] };
    expect(messageOf(() => parse(row))).toContain('f.jsonl:1: system: expected text, found a list');
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
      'expected "prompt", or answers that begin with their prompt, found answers that begin differently',
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

  it('must exist in each row if it holds a prompt or an answer', () => {
    expect(messageOf(() => parse({ instruction: 'p', a: 'c' }, columns))).toBe(
      'f.jsonl:1: b: expected the column that was named for "rejected", found the columns "instruction", "a". Name a column that the rows have.',
    );
  });

  it('must exist in one of the rows if it holds another field', () => {
    const { parse, checkColumns } = rowParser({ prompt: 'q', id: 'key', system: 'sys' });
    const row = { q: 'p', chosen: 'c', rejected: 'r' };
    expect(parse(row, at).id).toBe('f.jsonl:1');
    expect(parse({ ...row, key: 7 }, at).id).toBe('7');
    expect(messageOf(checkColumns)).toBe(
      'f.jsonl:1: sys: expected the column that was named for "system", found the columns "q", "chosen", "rejected", "key". ' +
        'Name a column that the rows have.',
    );
    parse({ ...row, sys: null }, at);
    checkColumns();
  });

  it('combine with a layout', () => {
    const row = { sys: 'Be brief.', q: 'Why?', chosen: 'c', rejected: 'r' };
    expect(parse(row, { system: 'sys', prompt: 'q' }).context[0]?.content).toBe('Be brief.\n\nWhy?');
  });
});

describe('a row', () => {
  const plain = { prompt: 'p', chosen: 'c', rejected: 'r' };
  const records = (rows: unknown[], file = 'f') => rows.map((value, i) => ({ value, at: { file, line: i + 1 } }));

  it('is rejected with a list of its columns if they have no pair', async () => {
    await expect(collect(preferenceRows(records([{ text: 't', label: 1 }])))).rejects.toThrow(
      'f:1: expected "prompt", "chosen" and "rejected", or the columns of UltraFeedback, HH-RLHF, Orca, Alpaca or ShareGPT pairs, found the ' +
        'columns "text", "label". Name the columns that hold them: columns: {prompt: …, chosen: …, rejected: …}.',
    );
  });

  it.each([
    [{ instruction: 'i', output: 'o' }, 'Rows with one answer are for supervised fine-tuning.'],
    [{ messages: [] }, 'Rows with one answer are for supervised fine-tuning.'],
    [{ prompt: 'p', completion: 'c', label: true }, 'Rows with a label rate one answer each'],
    [{ prompt: 'p', responses: ['a', 'b'] }, 'Of several answers to a prompt, `wpo pair` makes pairs'],
  ])('of another kind of training data is named: %j', async (row, hint) => {
    await expect(collect(preferenceRows(records([row])))).rejects.toThrow(hint);
  });

  it('may be skipped, and the rows of another file may have other columns', async () => {
    const skipped: string[] = [];
    const rows = preferenceRows(
      [...records([{ text: 't' }, plain]), ...records([{ question: 'q', chosen: 'c', rejected: 'r' }], 'g')],
      { onBadRow: 'skip', onSkip: ({ message }) => skipped.push(message) },
    );
    expect((await collect(rows)).map(({ context }) => context[0]?.content)).toEqual(['p', 'q']);
    expect(skipped).toHaveLength(1);
  });
});
