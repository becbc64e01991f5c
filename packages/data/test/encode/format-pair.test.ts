import { describe, expect, it } from 'vitest';
import { type FormatOptions, formatPair } from '../../src/encode/format-pair';
import { type Completion, encodePrompt, type PreferenceRow, parseRow, RowError, type Tokenizer } from '../../src/index';
import { loadTokenizerFolder, readRows } from '../../src/node';
import { collect, fixture, type Ids, readJson, reference, row, thrown } from '../fixtures';

const python = reference();
const text = await loadTokenizerFolder(fixture('tiny'));

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

it('encodePrompt ends in the header of the model’s turn', () => {
  const ids = encodePrompt([{ role: 'user', content: 'hi' }], text);
  expect(ids).toEqual(formatPair(row(), { ...text, completion: 'turn' }).prompt);
  expect(() => encodePrompt([{ role: 'system', content: 's' }], text)).toThrow('System role not supported');
});
