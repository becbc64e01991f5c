import { fc, test } from '@fast-check/vitest';
import { beforeAll, describe, expect, it } from 'vitest';
import { ControlTokenCount } from '../../src/encode/control-tokens';
import { truncatePair } from '../../src/encode/encode-pair';
import { type FormatOptions, formatPair } from '../../src/encode/format-pair';
import {
  type Completion,
  type EncodedPair,
  encodePair,
  encodePrompt,
  encodeRows,
  type PreferenceRow,
  parseRow,
  RowError,
  type TextOptions,
  type Tokenizer,
} from '../../src/index';
import { loadTokenizerFolder, readRows } from '../../src/node';
import { collect, fixture, type Ids, readJson, reference, thrown } from '../fixtures';

const python = reference();
let text: TextOptions;
beforeAll(async () => {
  text = await loadTokenizerFolder(fixture('tiny'));
});

const row = (more: Partial<PreferenceRow> = {}): PreferenceRow => ({
  id: 'r1',
  context: [{ role: 'user', content: 'hi' }],
  chosen: 'yes',
  rejected: 'no',
  at: { file: 'pairs.jsonl', line: 3 },
  ...more,
});

describe('system_role merge', () => {
  const merge = { systemRole: 'merge' } as const;
  const said = (role: string, content: string) => ({ role, content });

  it.each(['paper', 'trl', 'turn'] as const)(
    'encodes system turns as text before the first user message: %s',
    (completion) => {
      const joined = formatPair(row({ context: [said('user', 'Be brief.\n\nhi')] }), { ...text, completion });
      const turns = [said('system', 'Be brief.'), said('user', 'hi')];
      expect(formatPair(row({ context: turns }), { ...text, ...merge, completion })).toEqual(joined);
    },
  );

  it('keeps the order of several system turns and of the other messages', () => {
    const talk = [said('user', 'a'), said('assistant', 'b'), said('user', 'c')];
    const turns = [said('system', 's'), said('system', ' '), ...talk.slice(0, 2), said('system', 't'), talk[2]!];
    const joined = [said('user', 's\n\nt\n\na'), ...talk.slice(1)];
    expect(encodePrompt(turns, { ...text, ...merge })).toEqual(encodePrompt(joined, text));
    expect(encodePrompt(talk, { ...text, ...merge })).toEqual(encodePrompt(talk, text));
  });

  it('leaves a conversation without a user message to the chat template', () => {
    expect(() => encodePrompt([said('system', 's')], { ...text, ...merge })).toThrow('System role not supported');
    expect(() => encodePrompt([said('user', 'u')], { ...text, systemRole: 'join' as never })).toThrow(
      'systemRole: expected "error" or "merge", found "join".',
    );
  });
});

describe('formatPair', () => {
  it('puts the header of the turn into the prompt or the answer, and ends the answer, as the format requires', () => {
    const decoded = (completion: 'paper' | 'trl' | 'turn') => {
      const { prompt, chosen } = formatPair(row({ chosen: ' yes\n' }), { ...text, completion });
      return [text.tokenizer.decode([...prompt]), text.tokenizer.decode([...chosen])];
    };
    const user = '<bos><start_of_turn>user\nhi<end_of_turn>\n';
    const header = '<start_of_turn>model\n';
    expect(decoded('paper')).toEqual([user, `${header}yes<end_of_turn>\n<eos>`]);
    expect(decoded('trl')).toEqual([user + header, 'yes<end_of_turn>\n']);
    expect(decoded('turn')).toEqual([user + header, 'yes<end_of_turn>']);
  });

  it('gives Python’s ids for answers with unusual edges and special tokens, in all three formats', () => {
    expect(python.pairs.length).toBe(48);
    for (const { turns, answers, ...formats } of python.pairs) {
      const odd = row({ context: turns, chosen: answers[0], rejected: answers[1] });
      for (const completion of ['paper', 'trl', 'turn'] as const) {
        expect(formatPair(odd, { ...text, completion })).toEqual(formats[completion]);
      }
    }
  });

  it('ends a paper answer in the given end-of-text token', () => {
    expect(formatPair(row(), { ...text, eosTokenId: 107 }).chosen.at(-1)).toBe(107);
  });

  it('names the row that the chat template rejects, with the template’s message', () => {
    const rejected = row({
      context: [
        { role: 'system', content: 's' },
        { role: 'user', content: 'hi' },
      ],
    });
    const error = thrown(() => formatPair(rejected, text));
    expect(error).toBeInstanceOf(RowError);
    expect((error as Error).message).toBe(
      'pairs.jsonl:3: prompt: expected messages that the chat template accepts, found messages that it rejects ' +
        '(System role not supported). The roles here are system, user: set system_role to "merge", which puts system turns before the first user ' +
        'message, change them, or drop the row.',
    );
  });

  it('reports the options, not the row, if no row could be encoded', () => {
    const without = (...names: string[]): Tokenizer => ({
      ...text.tokenizer,
      eosTokenId: undefined,
      tokenId: (token) => (names.includes(token) ? undefined : text.tokenizer.tokenId(token)),
    });
    const cases: [() => unknown, string][] = [
      [() => formatPair(row(), { ...text, chatTemplate: undefined }), 'expected a Jinja template, found none'],
      [() => formatPair(row(), { ...text, chatTemplate: '{% if %}' }), 'not valid Jinja'],
      [() => formatPair(row(), { ...text, tokenizer: without() }), 'no end-of-text token'],
      [
        () => formatPair(row(), { ...text, completion: 'papr' as 'paper' }),
        'expected "paper", "trl" or "turn", found "papr"',
      ],
    ];
    for (const [run, message] of cases) {
      const error = thrown(run);
      expect(error).not.toBeInstanceOf(RowError);
      expect((error as Error).message).toContain(message);
    }
    expect(formatPair(row(), { ...text, completion: 'turn', tokenizer: without() }).chosen.at(-1)).toBe(107);
  });
});

describe('a chat template that is not Gemma’s', () => {
  const chatml =
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}" +
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";
  const decoded = (options: Partial<FormatOptions>, more: Partial<PreferenceRow> = {}) => {
    const { prompt, chosen } = formatPair(row({ chosen: ' yes\n', ...more }), { ...text, ...options });
    return [text.tokenizer.decode([...prompt]), text.tokenizer.decode([...chosen])];
  };

  it('renders both prompt and answer', () => {
    const user = '<|im_start|>user\nhi<|im_end|>\n';
    const header = '<|im_start|>assistant\n';
    const chatTemplate = chatml;
    expect(decoded({ chatTemplate })).toEqual([user, `${header}yes<|im_end|>\n<eos>`]);
    expect(decoded({ chatTemplate, completion: 'turn' })).toEqual([user + header, 'yes<|im_end|>']);
  });

  it('may end answers in the end-of-text token, which is not doubled', () => {
    const chatTemplate =
      '{% for m in messages %}{{ m.role + ": " + m.content + (eos_token if m.role == "assistant" else "") }}{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}';
    expect(decoded({ chatTemplate })).toEqual(['user: hi', 'assistant: yes<eos>']);
    expect(decoded({ chatTemplate, completion: 'turn' })).toEqual(['user: hiassistant: ', 'yes<eos>']);
  });

  it.each([
    [
      'drops part of the answer',
      '{% for m in messages %}{{ m.content[:2] }}{% endfor %}',
      'chosen',
      'one that renders another text',
    ],
    [
      'changes the prompt when an answer follows',
      '{{ messages | length }}{% for m in messages %}{{ m.content }}{% endfor %}',
      'chosen',
      'one that renders other text before the answer',
    ],
    [
      'has another header',
      '{% if add_generation_prompt %}answer:{% endif %}{% for m in messages %}{{ m.content }}{% endfor %}',
      'prompt',
      'one that renders other text before it',
    ],
  ])('is refused if it %s', (_, chatTemplate, field, found) => {
    const error = thrown(() => formatPair(row(), { ...text, chatTemplate }));
    expect(error).toBeInstanceOf(RowError);
    expect(error).toMatchObject({ field, found, line: 3 });
  });
});

describe('prompts that a chat template rendered already', () => {
  const user = '<bos><start_of_turn>user\nhi<end_of_turn>\n';
  const header = '<start_of_turn>model\n';
  const templated = (completion: Completion, prompt: string, more: Partial<PreferenceRow> = {}) =>
    formatPair(row({ context: [{ role: 'user', content: prompt }], ...more }), {
      ...text,
      completion,
      promptFormat: 'templated',
    });

  it.each([
    ['with the header of the model’s turn', user + header],
    ['without it', user],
    ['without <bos>', user.slice('<bos>'.length) + header],
    ['without the last newline', user.trimEnd()],
  ])('give the ids that the chat template gives: %s', (_, prompt) => {
    for (const completion of ['paper', 'trl', 'turn'] as const) {
      const expected = formatPair(row(), { ...text, completion });
      const found = templated(completion, prompt);
      if (prompt !== user.trimEnd()) expect(found).toEqual(expected);
      expect([found.chosen, found.rejected]).toEqual([expected.chosen, expected.rejected]);
      for (const end of ['<end_of_turn>', '<end_of_turn>\n', '<end_of_turn>\n<eos>', '<eos>']) {
        expect(templated(completion, prompt, { chosen: `yes${end}`, rejected: `no${end}` })).toEqual(found);
      }
    }
  });

  it('are continued as they are if they do not end in a turn', () => {
    const { prompt, chosen } = templated('turn', 'Question: hi\nAnswer:');
    expect(text.tokenizer.decode([...prompt])).toBe('<bos>Question: hi\nAnswer:');
    expect(text.tokenizer.decode([...chosen])).toBe('yes<end_of_turn>');
  });

  it('are text, and nothing is before <bos>', () => {
    const refused = (context: PreferenceRow['context']) =>
      (thrown(() => templated('turn', '', { context })) as RowError).message;
    expect(
      refused([
        { role: 'system', content: 's' },
        { role: 'user', content: user },
      ]),
    ).toContain('pairs.jsonl:3: prompt: expected text that a chat template rendered, found a list of messages');
    expect(refused([{ role: 'user', content: `Be brief.\n\n${user}` }])).toContain('found text before <bos>');
  });

  it('are what a model continues', () => {
    const options = { ...text, promptFormat: 'templated' } as const;
    expect(encodePrompt([{ role: 'user', content: user }], options)).toEqual(
      encodePrompt([{ role: 'user', content: 'hi' }], text),
    );
  });
});

describe('control tokens in the texts of rows', () => {
  const report = (rows: Partial<PreferenceRow>[], options: ConstructorParameters<typeof ControlTokenCount>[0]) => {
    const count = new ControlTokenCount(options);
    for (const more of rows) count.add(row(more));
    return count.report();
  };

  it('are counted, of the tokenizer and of common models', () => {
    const rows = [
      {},
      { chosen: 'a <eos>' },
      { rejected: '<|im_end|>' },
      { context: [{ role: 'user', content: '<bos><start_of_turn>user' }] },
      { chosen: '<unused3> <p>' },
    ];
    const tokens = ['<eos>', '<|im_end|>', '<bos>', '<start_of_turn>'];
    expect(report(rows, text)).toEqual({ rows: 4, tokens: [...tokens, '<unused3>'], first: 'pairs.jsonl:3' });
    expect(report(rows, {})).toEqual({ rows: 3, tokens, first: 'pairs.jsonl:3' });
    const others = '<|eot_id|> <|vision_start|> <｜begin▁of▁sentence｜> [INST] a <|> b || <| c |> <||>';
    expect(report([{ chosen: others }], text).tokens).toEqual(others.split(' ').slice(0, 4));
    expect(report([{}], text)).toEqual({ rows: 0, tokens: [], first: undefined });
  });

  it('belong in rendered prompts and at the end of their answers', () => {
    const rendered = {
      context: [{ role: 'user', content: '<bos><start_of_turn>user' }],
      chosen: 'a<end_of_turn>\n<eos>\n',
    };
    expect(report([rendered, { chosen: '<eos>a<eos>' }], { ...text, promptFormat: 'templated' })).toMatchObject({
      rows: 1,
      tokens: ['<eos>'],
    });
  });
});

describe('completion trl', () => {
  interface TrlTokens {
    /** Rows of messages. */
    messages: Ids[];
    /** Rows of plain text: the last message before the answers, and the answers. */
    strings: Ids[];
  }
  const trl = readJson<TrlTokens>('tiny/trl-tokens.json');
  const rows = () => collect(readRows(fixture('tiny/pairs.jsonl')));

  it('gives the ids of TRL’s own DPOTrainer for messages, also if prompt and answer share a token', async () => {
    const found = (await rows()).map((row) => formatPair(row, { ...text, completion: 'trl' }));
    expect(found).toEqual(trl.messages);
    // in the pairs 0, 2 and 9 the newline after the header merges with the answer's first letters
    const headers = found.map(({ prompt }) => text.tokenizer.decode(prompt).endsWith('<start_of_turn>model\n'));
    expect(headers.flatMap((whole, i) => (whole ? [] : [i]))).toEqual([0, 2, 9]);
  });

  it('gives TRL’s ids for plain text, without the chat template and with the end-of-text token', async () => {
    const plain = (await rows()).map(({ context, chosen, rejected, at }) =>
      parseRow({ prompt: context.at(-1)!.content, chosen, rejected }, at),
    );
    const withoutTemplate = { tokenizer: text.tokenizer, chatTemplate: undefined, completion: 'trl' as const };
    expect(plain.map((row) => formatPair(row, withoutTemplate))).toEqual(trl.strings);
  });

  it('adds no second end-of-text token to plain text that ends in one', () => {
    const plain = (chosen: string) => row({ chosen, plainText: true });
    const format = (chosen: string) => formatPair(plain(chosen), { ...text, completion: 'trl' });
    expect(format('yes<eos>')).toEqual(format('yes'));
  });

  it('needs no Gemma tokens', () => {
    const tokenizer = { ...text.tokenizer, tokenId: () => undefined };
    const chatTemplate =
      '{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}';
    const { prompt, chosen } = formatPair(row(), { tokenizer, chatTemplate, completion: 'trl' });
    expect(tokenizer.decode([...prompt, ...chosen])).toBe('[user] hi\n[assistant] yes\n');
  });
});

test.each([
  [2048, 1800],
  [4096, 1800],
  [1024, 900],
  [100, 87],
  [2, 1],
])('with maxLength %i a cut prompt has by default %i tokens', (maxLength, maxPromptLength) => {
  const long = { prompt: Array.from({ length: 5000 }, (_, i) => i), chosen: [1], rejected: [2] };
  expect(truncatePair(long, { maxLength }).prompt).toHaveLength(maxPromptLength);
});

describe('truncatePair', () => {
  const pair = { prompt: [1, 2, 3, 4, 5], chosen: [11, 12, 13, 14], rejected: [21, 22] };

  it.each([
    // it fits: nothing is cut
    ['paper', 9, 2, { prompt: [1, 2, 3, 4, 5], chosen: [11, 12, 13, 14], rejected: [21, 22] }],
    // one token too many: the prompt loses its start, down to its limit; then the answers fit
    ['paper', 8, 4, { prompt: [2, 3, 4, 5], chosen: [11, 12, 13, 14], rejected: [21, 22] }],
    ['paper', 8, 2, { prompt: [4, 5], chosen: [11, 12, 13, 14], rejected: [21, 22] }],
    // still too many: both answers are cut to 6 - 3
    ['paper', 6, 3, { prompt: [3, 4, 5], chosen: [11, 12, 13], rejected: [21, 22] }],
    // a prompt under its limit stays whole
    ['paper', 8, 7, { prompt: [1, 2, 3, 4, 5], chosen: [11], rejected: [21] }],
    ['keep_start', 8, 1, { prompt: [1, 2, 3, 4, 5], chosen: [11, 12, 13], rejected: [21, 22] }],
    ['keep_start', 6, 1, { prompt: [1, 2, 3, 4, 5], chosen: [11], rejected: [21] }],
    ['keep_start', 5, 1, { prompt: [1, 2, 3, 4, 5], chosen: [], rejected: [] }],
    ['keep_start', 3, 1, { prompt: [1, 2, 3], chosen: [], rejected: [] }],
  ] as const)('%s at %i tokens, prompt at %i', (truncation, maxLength, maxPromptLength, cut) => {
    expect(truncatePair(pair, { truncation, maxLength, maxPromptLength })).toEqual(cut);
  });

  it('truncates as Python does at 300 random lengths and limits', () => {
    expect(python.cuts.length).toBe(300);
    for (const { pair, max_length: maxLength, max_prompt_length: maxPromptLength, ...cut } of python.cuts) {
      for (const truncation of ['paper', 'keep_start'] as const) {
        expect(truncatePair(pair, { truncation, maxLength, maxPromptLength })).toEqual(cut[truncation]);
      }
    }
  });

  const ids = fc.array(fc.nat(), { minLength: 1, maxLength: 40 });
  const limits = fc.integer({ min: 2, max: 60 }).chain((maxLength) =>
    fc.record({
      maxLength: fc.constant(maxLength),
      maxPromptLength: fc.integer({ min: 1, max: maxLength - 1 }),
      truncation: fc.constantFrom('paper' as const, 'keep_start' as const),
    }),
  );
  const slices = (whole: readonly number[], part: readonly number[]) =>
    part.every((id, i) => id === whole[i]) || part.every((id, i) => id === whole[whole.length - part.length + i]);

  test.prop([fc.record({ prompt: ids, chosen: ids, rejected: ids }), limits])(
    'respects the limits, cuts only at an end, leaves a pair that fits unchanged, and is idempotent',
    (pair, limits) => {
      const cut = truncatePair(pair, limits);
      const total = (p: typeof cut) => p.prompt.length + Math.max(p.chosen.length, p.rejected.length);
      expect(total(cut)).toBeLessThanOrEqual(limits.maxLength);
      for (const part of ['prompt', 'chosen', 'rejected'] as const) expect(slices(pair[part], cut[part])).toBe(true);
      if (total(pair) <= limits.maxLength) expect(cut).toEqual(pair);
      if (limits.truncation === 'paper') {
        expect(Math.min(cut.prompt.length, cut.chosen.length, cut.rejected.length)).toBeGreaterThan(0);
      }
      expect(truncatePair(cut, limits)).toEqual(cut);
    },
  );

  it.each([
    [
      { maxLength: 1, maxPromptLength: 1 },
      'max_length: expected an integer of at least 2 (a token of the prompt and one of the answer), found 1',
    ],
    [{ maxLength: 10.5 }, 'found 10.5'],
    [{ maxLength: Number.NaN }, 'found NaN'],
    [{ maxLength: 100, maxPromptLength: 100 }, 'from 1 to 99, found 100 with max_length 100'],
    [{ maxLength: 100, maxPromptLength: 0 }, 'from 1 to 99, found 0'],
    [{ maxLength: 100, maxPromptLength: 1800 }, 'found 1800 with max_length 100'],
    [{ truncation: 'keep_end' as 'paper' }, 'expected "paper" or "keep_start", found "keep_end"'],
  ])('rejects limits out of range: %o', (options, message) => {
    const run = () => truncatePair(pair, options);
    expect(run).toThrow(RangeError);
    expect(run).toThrow(message);
    expect(() => encodePair(row(), { ...text, ...options })).toThrow(RangeError);
  });
});

describe('encodePair', () => {
  it('returns the row’s id, its weight if it has one, and ids as 32-bit integers', () => {
    expect(encodePair(row(), text)).not.toHaveProperty('weight');
    const pair = encodePair(row({ weight: 0 }), text);
    expect(pair).toMatchObject({ id: 'r1', weight: 0 });
    const { prompt, chosen, rejected } = formatPair(row(), text);
    expect(pair.prompt).toEqual(Int32Array.from(prompt));
    expect(pair.chosen).toEqual(Int32Array.from(chosen));
    expect(pair.rejected).toEqual(Int32Array.from(rejected));
  });

  it('says how many tokens were cut from the prompt and from the answer that lost more', () => {
    expect(encodePair(row(), text)).not.toHaveProperty('truncated');
    const long = row({ chosen: 'yes '.repeat(30), rejected: 'no '.repeat(50) });
    const whole = formatPair(long, text);
    const pair = encodePair(long, { ...text, maxLength: 20, maxPromptLength: 2 });
    expect([pair.prompt.length, pair.chosen.length, pair.rejected.length]).toEqual([2, 18, 18]);
    expect(pair.truncated).toEqual({ prompt: whole.prompt.length - 2, answer: whole.rejected.length - 18 });
  });

  it('reports a row whose prompt leaves no room for an answer', () => {
    const long = row({ context: [{ role: 'user', content: 'word '.repeat(50) }] });
    const error = thrown(() => encodePair(long, { ...text, truncation: 'keep_start', maxLength: 20 }));
    expect(error).toBeInstanceOf(RowError);
    expect(error).toMatchObject({ field: 'chosen', found: 'no room after a prompt of 20 tokens or more', line: 3 });
  });

  it('reports a row whose prompt renders to empty text', () => {
    const error = thrown(() =>
      encodePair(row(), {
        ...text,
        chatTemplate: '{% for m in messages if m.role == "assistant" %}{{ m.content }}{% endfor %}',
      }),
    );
    expect(error).toMatchObject({ name: 'RowError', field: 'prompt', found: 'no tokens' });
  });
});

describe('encodeRows', () => {
  const rejected = row({ id: 'r2', context: [{ role: 'assistant', content: 'hi' }] });

  it('stops at a row that cannot be encoded', async () => {
    await expect(collect(encodeRows([row(), rejected], text))).rejects.toThrow(RowError);
  });

  it('skips and reports it with onBadRow skip', async () => {
    const skipped: RowError[] = [];
    const options = { ...text, onBadRow: 'skip' as const, onSkip: (error: RowError) => skipped.push(error) };
    const pairs: EncodedPair[] = await collect(encodeRows([row(), rejected, row({ id: 'r3' })], options));
    expect(pairs.map(({ id }) => id)).toEqual(['r1', 'r3']);
    expect(skipped.map(({ field }) => field)).toEqual(['prompt']);
  });

  it('throws for wrong options, with onBadRow skip too', async () => {
    const options = { ...text, chatTemplate: undefined, onBadRow: 'skip' as const };
    await expect(collect(encodeRows([row()], options))).rejects.toThrow('expected a Jinja template, found none');
  });
});

it('encodePrompt ends in the header of the model’s turn', () => {
  const ids = encodePrompt([{ role: 'user', content: 'hi' }], text);
  expect(ids).toEqual(formatPair(row(), { ...text, completion: 'turn' }).prompt);
  expect(() => encodePrompt([{ role: 'system', content: 's' }], text)).toThrow('System role not supported');
});
