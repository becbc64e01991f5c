import { expect, test } from 'vitest';
import { parseChat } from '../../src/node/chat';

const replyWith = (choice: object) => ({ choices: [choice] });
const answered = (finish_reason: unknown, content: unknown = 'Yes.', more: object = {}) =>
  parseChat(replyWith({ finish_reason, message: { content, ...more } }));

test.each([
  ['stop', 'stop'],
  ['eos', 'stop'],
  ['eos_token', 'stop'],
  ['end_turn', 'stop'],
  ['STOP', 'stop'],
  ['', 'stop'],
  [null, 'stop'],
  [undefined, 'stop'],
  ['length', 'length'],
  ['max_tokens', 'length'],
  ['model_length', 'length'],
  ['MAX_TOKENS', 'length'],
])('the finish reason %s is %s', (given, finishReason) => {
  expect(answered(given)).toEqual({ text: 'Yes.', finishReason });
});

test('an unknown finish reason counts as whole, and is reported; without text the reply is incomplete', () => {
  const notices: string[] = [];
  const reply = replyWith({ finish_reason: 'fin\u001b', message: { content: 'Yes.' } });
  expect(parseChat(reply, (text) => notices.push(text))).toEqual({ text: 'Yes.', finishReason: 'stop' });
  expect(notices).toEqual(['finish_reason "fin\\u001b" is not known; such answers count as whole.']);
  expect(answered('__proto__')).toEqual({ text: 'Yes.', finishReason: 'stop' });
  expect(() => answered('fin', '')).toThrow('no text, and finish_reason fin');
  expect(() => answered(null, null)).toThrow('no text, and finish_reason missing');
});

test.each([
  ['content_filter', 'FinalReplyError'],
  ['tool_calls', 'FinalReplyError'],
  ['error', 'Error'],
  ['abort', 'Error'],
])('the finish reason %s is no answer', (reason, name) => {
  expect(() => answered(reason)).toThrow(expect.objectContaining({ name }));
  expect(() => parseChat(replyWith({ finish_reason: reason }))).toThrow(expect.objectContaining({ name }));
});

test('of several answers the first is used, with a notice', () => {
  const notices: string[] = [];
  const choices = ['a', 'b'].map((content) => ({ finish_reason: 'stop', message: { content } }));
  expect(parseChat({ choices }, (text) => notices.push(text)).text).toBe('a');
  expect(notices).toEqual(['the server returned more than one answer to a request. Only the first is used.']);
});

test('reasoning is kept apart from the answer, whatever field it is in', () => {
  expect(answered('stop', 'Yes.', { reasoning_content: 'Hm.' })).toMatchObject({ text: 'Yes.', reasoning: 'Hm.' });
  expect(answered('length', null, { reasoning: 'Hm.' })).toMatchObject({ text: '', reasoning: 'Hm.' });
  const parts = [
    { type: 'thinking', thinking: [{ type: 'text', text: 'Hm.' }] },
    { type: 'text', text: 'Yes.' },
  ];
  expect(answered('stop', parts).text).toBe('Yes.');
  expect(answered('stop', null, { refusal: 'I cannot.' }).text).toBe('I cannot.');
});

test.each([
  [{}],
  [{ choices: [] }],
  [{ choices: 'x' }],
  [{ choices: [null] }],
  [{ choices: [{ finish_reason: 'stop' }] }],
  [{ choices: [{ finish_reason: 'stop', message: { content: 7 } }] }],
  [{ choices: [{ finish_reason: 7, message: { content: 'x' } }] }],
  [null],
])('%j is incomplete', (reply) => {
  expect(() => parseChat(reply)).toThrow();
});

test('log-probs that are null, infinite or of another format are left out', () => {
  const token = (top_logprobs: unknown) => ({ token: 'm', logprob: null, top_logprobs });
  const logprobsOf = (logprobs: unknown) =>
    parseChat(replyWith({ finish_reason: 'stop', message: { content: 'm' }, logprobs })).logprobs;
  const top = [
    { token: 'm', logprob: -0.5 },
    { token: 'M', logprob: null },
    { token: 'x', logprob: Number.POSITIVE_INFINITY },
    7,
  ];
  expect(logprobsOf({ content: [token(top)] })).toEqual([{ token: 'm', top: [{ token: 'm', logprob: -0.5 }] }]);
  expect(logprobsOf({ content: [token(null)] })).toEqual([{ token: 'm', top: [] }]);
  for (const none of [
    undefined,
    null,
    {},
    { content: null },
    { content: [] },
    { tokens: ['m'] },
    'x',
    { content: [7] },
  ]) {
    expect(logprobsOf(none)).toBeUndefined();
  }
});
