import { fc, test } from '@fast-check/vitest';
import { describe, expect, it } from 'vitest';
import { parseRow, RowError } from '../../src/index';
import { parseJsonRow } from '../../src/rows/read-rows';
import { thrown } from '../fixtures';

const at = { file: 'pairs.jsonl', line: 12 };
const user = (content: string) => ({ role: 'user', content });
const assistant = (content: string) => ({ role: 'assistant', content });
const system = (content: string) => ({ role: 'system', content });

describe('a row may be', () => {
  const hello = [user('Hello?')];
  const longer = [system('Be kind.'), user('One?'), assistant('One.'), user('Two?')];

  it.each([
    ['three strings', { prompt: 'Hello?', chosen: 'Yes.', rejected: 'No.' }, hello],
    [
      'UltraFeedback: a prompt string beside whole conversations',
      { prompt: 'Hello?', chosen: [...hello, assistant('Yes.')], rejected: [...hello, assistant('No.')] },
      hello,
    ],
    [
      'two whole conversations',
      { chosen: [...longer, assistant('Yes.')], rejected: [...longer, assistant('No.')] },
      longer,
    ],
    [
      'a prompt string that repeats one message of a longer conversation',
      { prompt: 'One?', chosen: [...longer, assistant('Yes.')], rejected: [...longer, assistant('No.')] },
      longer,
    ],
    [
      'a prompt string and single assistant messages',
      { prompt: 'Hello?', chosen: [assistant('Yes.')], rejected: [assistant('No.')] },
      hello,
    ],
    ['a prompt list and strings', { prompt: longer, chosen: 'Yes.', rejected: 'No.' }, longer],
    [
      'a prompt list and single assistant messages',
      { prompt: longer, chosen: [assistant('Yes.')], rejected: [assistant('No.')] },
      longer,
    ],
    [
      'a prompt list that both answers begin with',
      { prompt: longer, chosen: [...longer, assistant('Yes.')], rejected: [...longer, assistant('No.')] },
      longer,
    ],
    [
      'a prompt list that only one answer begins with',
      { prompt: longer, chosen: [...longer, assistant('Yes.')], rejected: [assistant('No.')] },
      longer,
    ],
    ['a string against a list', { prompt: longer, chosen: 'Yes.', rejected: [assistant('No.')] }, longer],
    [
      'a prompt list and the messages that follow it',
      {
        prompt: longer.slice(0, 2),
        chosen: [...longer.slice(2), assistant('Yes.')],
        rejected: [...longer.slice(2), assistant('No.')],
      },
      longer,
    ],
    [
      'a null prompt beside conversations',
      { prompt: null, chosen: [...hello, assistant('Yes.')], rejected: [...hello, assistant('No.')] },
      hello,
    ],
  ])('%s', (_, value, context) => {
    const { plainText, ...row } = parseRow(value, at);
    expect(row).toEqual({ id: 'pairs.jsonl:12', context, chosen: 'Yes.', rejected: 'No.', at });
    expect(plainText).toBe(Object.values(value).every((part) => typeof part === 'string') ? true : undefined);
  });

  it('keeps answers unchanged, with spaces and control characters', () => {
    const row = parseRow({ prompt: '', chosen: ' \x00 ', rejected: '\ufeff' }, at);
    expect(row).toMatchObject({ context: [user('')], chosen: ' \x00 ', rejected: '\ufeff' });
  });

  it('allows equal answers', () => {
    expect(parseRow({ prompt: 'a', chosen: 'b', rejected: 'b' }, at)).toMatchObject({ chosen: 'b', rejected: 'b' });
  });

  it('reads weight, scores and id, and ignores other columns', () => {
    const row = { prompt: 'a', chosen: 'b', rejected: 'c', messages: 7, source: null, ['__proto__']: { weight: 3 } };
    expect(parseRow({ ...row, weight: 0, score_chosen: 8.5, score_rejected: -1, prompt_id: 'p', id: 9 }, at)).toEqual({
      id: '9',
      context: [user('a')],
      chosen: 'b',
      rejected: 'c',
      weight: 0,
      scores: { chosen: 8.5, rejected: -1 },
      plainText: true,
      at,
    });
    expect(parseRow({ ...row, prompt_id: 'p' }, at).id).toBe('p');
    expect(parseRow({ ...row, prompt_id: '' }, at).id).toBe('pairs.jsonl:12');
  });

  it('treats null as absent, and one score without the other as none', () => {
    const row = {
      prompt: 'a',
      chosen: 'b',
      rejected: 'c',
      weight: null,
      id: null,
      score_chosen: 1,
      score_rejected: null,
    };
    const read = parseRow(row, at);
    expect(read).not.toHaveProperty('weight');
    expect(read).not.toHaveProperty('scores');
  });
});

describe('bad rows', () => {
  const good = { prompt: 'a', chosen: 'b', rejected: 'c' };
  const talk = [user('a'), assistant('b')];

  it.each<[string, unknown, string | undefined, string]>([
    ['not an object', [good], undefined, 'a list'],
    ['null', null, undefined, 'null'],
    ['no answer', { prompt: 'a', chosen: 'b' }, 'rejected', 'nothing'],
    ['no prompt', { chosen: 'b', rejected: 'c' }, 'prompt', 'nothing'],
    [
      'single assistant messages without a prompt',
      { chosen: [assistant('b')], rejected: [assistant('c')] },
      'chosen',
      'a single assistant message and no "prompt"',
    ],
    ['a number for a prompt', { ...good, prompt: 3 }, 'prompt', 'the number 3'],
    ['a user message for an answer', { ...good, chosen: user('b') }, 'chosen[0].role', '"user"'],
    ['an empty answer', { ...good, rejected: '' }, 'rejected', 'an empty answer'],
    ['an answer of Python whitespace', { ...good, chosen: ' \n\x1c\x85\u3000' }, 'chosen', 'only whitespace'],
    [
      'an empty answer in a list',
      { chosen: talk, rejected: [user('a'), assistant('')] },
      'rejected[1].content',
      'an empty answer',
    ],
    ['an empty list', { ...good, prompt: [] }, 'prompt', 'an empty list'],
    ['a text in a list', { ...good, chosen: ['b'] }, 'chosen[0]', 'the text "b"'],
    [
      'content of parts',
      { ...good, chosen: [{ role: 'assistant', content: [{ type: 'text', text: 'b' }] }] },
      'chosen[0].content',
      'a list',
    ],
    [
      'null content',
      { chosen: [user('a'), { role: 'assistant', content: null }], rejected: talk },
      'chosen[1].content',
      'null',
    ],
    ['no role', { ...good, chosen: [{ content: 'b' }] }, 'chosen[0].role', 'nothing'],
    [
      'a conversation that ends in a question',
      { chosen: [...talk, user('c')], rejected: talk },
      'chosen[2].role',
      '"user"',
    ],
    ['a prompt that ends in an answer', { ...good, prompt: talk }, 'prompt[1].role', '"assistant"'],
    [
      'two answers in a row',
      { chosen: [...talk, assistant('c')], rejected: [...talk, assistant('d')] },
      'chosen[2].role',
      'two assistant messages in a row',
    ],
    [
      'answers to different questions',
      { chosen: talk, rejected: [user('other'), assistant('c')] },
      'rejected',
      'a difference from "chosen" in message 1',
    ],
    [
      'one conversation longer than the other',
      { chosen: [...talk, user('c'), assistant('d')], rejected: talk },
      'rejected',
      'a difference from "chosen" in message 2',
    ],
    [
      'a prompt list that differs from the conversation',
      { prompt: [user('z')], chosen: talk, rejected: talk },
      'chosen',
      'other messages than those of "prompt"',
    ],
    ['a weight below 0', { ...good, weight: -0.5 }, 'weight', '-0.5'],
    ['a weight in quotes', { ...good, weight: '0.5' }, 'weight', 'the text "0.5"'],
    ['an infinite weight', { ...good, weight: Number.POSITIVE_INFINITY }, 'weight', 'the number Infinity'],
    ['a score that is not a number', { ...good, score_chosen: true }, 'score_chosen', 'true'],
    ['an id that is a list', { ...good, id: [1] }, 'id', 'a list'],
    ['half an emoji', { ...good, chosen: 'cut \ud83d' }, 'chosen', 'a lone surrogate \\ud83d at character 4'],
    [
      'half an emoji in a message',
      { ...good, prompt: [user('\ude00')] },
      'prompt[0].content',
      'a lone surrogate \\ude00 at character 0',
    ],
  ])('%s', (_, value, field, found) => {
    const error = thrown(() => parseRow(value, at));
    expect(error).toBeInstanceOf(RowError);
    expect(error).toMatchObject({ file: 'pairs.jsonl', line: 12, found });
    expect((error as RowError).field).toBe(field);
  });

  it('name file, line and field, what was expected, what was found, and how to fix it', () => {
    expect(() => parseRow({ ...good, weight: '0.5' }, at)).toThrow(
      'pairs.jsonl:12: weight: expected a finite number, found the text "0.5". Write it as a number without quotes, or leave it out.',
    );
  });

  it('show only the start of a long text', () => {
    const error = thrown(() => parseRow({ ...good, weight: 'x'.repeat(10_000) }, at));
    expect((error as Error).message.length).toBeLessThan(200);
  });

  it.each([
    ['{"prompt": "a", "chosen": "b"', 'Write each row as one complete JSON object'],
    ["{'prompt': 'a'}", 'JSON has double quotes'],
    ['['.repeat(2000), 'Write each row as one complete JSON object'],
  ])('that are not JSON: %s', (text, hint) => {
    const error = thrown(() => parseJsonRow(text, at));
    expect(error).toBeInstanceOf(RowError);
    expect((error as RowError).hint).toContain(hint);
  });

  const pairOf = (text: string) => [
    { ...good, prompt: text },
    { ...good, chosen: text },
    { ...good, rejected: text },
    { ...good, system: text },
  ];

  it.each([
    `[{"role": "user", "content": "hi"}]`,
    `  [ {"content": "hi", "role": "user"} ]`,
    `[{'role': 'user', 'content': 'hi'}, {'role': 'assistant', 'content': "it's"}]`,
    `[{'content': 'hi', 'role': 'user'}\n {'content': 'x', 'role': 'assistant'}]`,
    `array([{'content': 'hi', 'role': 'user'}], dtype=object)`,
    `[{'from': 'human', 'value': 'hi'}]`,
    `{"role": "assistant", "content": "hi"}`,
    `{'role': 'assistant', 'content': 'hi'}`,
    `[{""role"": ""user"", ""content"": ""hi""}]`,
    `"[{\\"role\\": \\"user\\", \\"content\\": \\"hi\\"}]"`,
    `[Message(role='user', content='hi')]`,
    `[OrderedDict([('role', 'user'), ('content', 'hi')])]`,
    `[{'role': 'user', 'content': 'cut off in a cell of a spread`,
    '[object Object]',
    '[object Object],[object Object]',
  ])('messages that became text, in any column: %s', (text) => {
    for (const value of pairOf(text)) {
      const error = thrown(() => parseRow(value, at)) as RowError;
      expect(error).toBeInstanceOf(RowError);
      expect(error.message).toMatch(/written as text|became the text/);
    }
    const message = [{ role: 'assistant', content: text }];
    expect(parseRow({ ...good, chosen: message }, at).chosen).toBe(text); // meant as text
  });

  it.each([
    'Use [{"role": …}] as the body.',
    '{"role": "Engineer", "content": "…"}',
    `{"value": 3, "from": "Berlin"}`,
    '[1, 2]',
    '[]',
    `create(role='user', content='x')`,
    '[['.repeat(500),
    `${'[ '.repeat(300)}{`,
  ])('but not other text with brackets: %s', (text) => {
    for (const value of pairOf(text)) expect(parseRow(value, at).context.length).toBe(1);
  });

  const anything = fc.anything({
    withNullPrototype: true,
    withBigInt: true,
    withDate: true,
    withMap: true,
    withSparseArray: true,
  });
  const turns = fc.array(
    fc.oneof(
      anything,
      fc.record({
        role: fc.oneof(fc.constantFrom('user', 'assistant'), anything),
        content: fc.oneof(fc.string({ unit: 'binary' }), anything),
      }),
    ),
    { maxLength: 4 },
  );
  const part = fc.oneof(fc.string({ unit: 'binary' }), turns, anything);
  const hostile = fc.record(
    { prompt: part, chosen: part, rejected: part, weight: anything, score_chosen: anything, id: anything },
    { requiredKeys: [] },
  );

  test.prop([fc.oneof(hostile, anything)])('never throw anything but a RowError', (value) => {
    let row: ReturnType<typeof parseRow>;
    try {
      row = parseRow(value, at);
    } catch (error) {
      expect(error).toBeInstanceOf(RowError);
      return;
    }
    expect(row.context.length).toBeGreaterThan(0);
    for (const text of [row.chosen, row.rejected, ...row.context.map(({ content }) => content)]) {
      expect(/\p{Surrogate}/u.test(text)).toBe(false);
    }
  });
});
