import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { judgePrompt } from '../../src/index';
import {
  createEndpoint,
  endpointJudge,
  isJudgeReply,
  type JudgeForm,
  openReplyCache,
  type ReplyCache,
} from '../../src/node';
import { type Script, scriptedServer } from '../scripted-server';

const folder = mkdtempSync(join(tmpdir(), 'wpo-judge-'));
const opened: ReplyCache<unknown>[] = [];

afterAll(async () => {
  for (const cache of opened) await cache.close();
  rmSync(folder, { recursive: true });
});

const texts = { instruction: 'Ask', output_1: 'one', output_2: 'two' };

async function judging(
  form: JudgeForm,
  chat: Script['chat'],
  more: { maxTokens?: number; fault?: Script['fault'] } = {},
) {
  const server = await scriptedServer({
    model: 'wise',
    ...(chat && { chat }),
    ...(more.fault && { fault: more.fault }),
  });
  const path = join(folder, `cache-${opened.length}.jsonl`);
  const cache = await openReplyCache(path, isJudgeReply);
  opened.push(cache);
  const endpoint = createEndpoint({ url: server.url, model: 'wise', retries: 0 });
  const judge = await endpointJudge({ endpoint, form, prompt: judgePrompt, cache, maxTokens: more.maxTokens });
  return { server, judge: () => judge(texts), cached: () => readFileSync(path, 'utf8').split('\n').length - 1 };
}

const choice = (content: string | null, finish_reason = 'stop', more: object = {}) => ({
  finish_reason,
  message: { content, ...more },
});

test.each([
  ['a plain verdict', choice('m'), 1],
  ['reasoning in the text', choice('<think>m or M?</think>\n\nM'), 2],
  ['reasoning beside the text', choice('M', 'stop', { reasoning_content: 'm is worse' }), 2],
  ['a finish reason of other servers', choice('m', 'eos'), 1],
])('the form verdict reads %s', async (_, reply, preference) => {
  const { judge, server, cached } = await judging('verdict', () => reply);
  expect(await judge()).toMatchObject({ preference });
  expect(await judge()).toMatchObject({ preference });
  expect([server.requests.length, cached()]).toEqual([1, 1]);
  expect(server.requests[0]!.body).toMatchObject({ temperature: 0, max_tokens: 1024 });
});

test.each([
  ['an empty reply', choice(''), /^an empty reply\. Use another judge\.$/],
  [
    'a reply that only reasons',
    choice(null, 'stop', { reasoning: 'Hm' }),
    /^an empty reply\. Raise --judge-max-tokens/,
  ],
  [
    'reasoning that was cut off',
    choice(null, 'length', { reasoning: 'Hm' }),
    /cut off while the judge was reasoning\. Raise/,
  ],
  [
    'reasoning in the text that was cut off',
    choice('<think>m', 'length'),
    /cut off before its end\. Raise .*, now 1024\.$/,
  ],
  ['a verdict that was cut off', choice('m', 'length'), /cut off before its end/],
])('%s is no verdict, and is not cached', async (_, reply, problem) => {
  const { judge, server, cached } = await judging('verdict', () => reply);
  expect(await judge()).toMatchObject({ preference: null, problem: expect.stringMatching(problem) });
  await judge();
  expect([server.requests.length, cached()]).toEqual([2, 0]);
});

test('a whole reply that names neither answer is cached', async () => {
  const { judge, server, cached } = await judging('verdict', () => choice('Neither\u001b'));
  const problem = 'the judge named neither answer: "Neither\\u001b"';
  expect(await judge()).toEqual({ preference: null, text: 'Neither\u001b', problem });
  await judge();
  expect([server.requests.length, cached()]).toEqual([1, 1]);
});

const top = (m: number, M: number) => [
  { token: 'm', logprob: Math.log(m) },
  { token: 'M', logprob: Math.log(M) },
];
const token = (text: string, top_logprobs: unknown = []) => ({ token: text, logprob: -0.1, top_logprobs });

test.each([
  ['the first token', choice('m', 'length'), [token('m', top(0.75, 0.25))], undefined],
  [
    'the first token after reasoning',
    choice('<think>M?</think>\n\nm'),
    ['<think>', 'M', '?', '</think>', '\n\n']
      .map((text) => token(text, top(0.1, 0.9)))
      .concat(token('m', top(0.75, 0.25))),
    64,
  ],
  [
    'the first token of the text beside the reasoning',
    choice('m', 'stop', { reasoning: 'M' }),
    [token('M', top(0.1, 0.9)), token('</think>'), token('m', top(0.75, 0.25)), token('')],
    64,
  ],
])('the form logprobs reads %s', async (_, reply, content, maxTokens) => {
  const { judge, server } = await judging(
    'logprobs',
    () => ({ ...reply, logprobs: { content } }),
    maxTokens === undefined ? {} : { maxTokens },
  );
  expect((await judge()).preference).toBeCloseTo(1.25, 12);
  expect(server.requests[0]!.body).toMatchObject({ max_tokens: maxTokens ?? 1, logprobs: true, top_logprobs: 5 });
});

test('the form logprobs does not read the log-probs of reasoning', async () => {
  const reply = { ...choice('<think>', 'length'), logprobs: { content: [token('<think>', top(0.1, 0.9))] } };
  const { judge, cached } = await judging('logprobs', () => reply);
  const problem = expect.stringMatching(/cut off before its end\. Raise --judge-max-tokens .*, now 1\./);
  expect(await judge()).toMatchObject({ preference: null, problem });
  expect(cached()).toBe(0);
});

test.each([
  ['null', null],
  ['absent', undefined],
  ['an empty list', { content: [] }],
  ['without the most likely tokens', { content: [{ token: 'm', logprob: -0.1 }] }],
])('log-probs that are %s: the error says what to set', async (_, logprobs) => {
  const { judge } = await judging('logprobs', () => ({ ...choice('m'), logprobs }));
  await expect(judge()).rejects.toThrow(/expected log-probs, found none\. .*--max-logprobs 5.* --judge-form verdict/);
});

test('a server that refuses log-probs: the error has its words and says what to set', async () => {
  const body = '{"error": {"message": "This model does not support the \'logprobs\' parameter.", "param": "logprobs"}}';
  const { judge } = await judging('logprobs', undefined, { fault: () => ({ status: 400, body }) });
  await expect(judge()).rejects.toThrow(/This model does not support the 'logprobs' parameter\..*--judge-form verdict/);
});

test.each([
  [
    'a refusal',
    () => ({ status: 400, body: '{"error": {"message": "the prompt is too long"}}' }),
    /status 400: the prompt is too long\./,
  ],
  [
    'a content filter',
    () => ({ status: 200, body: '{"choices": [{"finish_reason": "content_filter"}]}' }),
    /finish_reason content_filter: its content filter stopped/,
  ],
] as const)('%s is no verdict, and the problem has the server’s words', async (_, fault, problem) => {
  const { judge, server } = await judging('verdict', undefined, { fault });
  expect(await judge()).toEqual({ preference: null, text: '', problem: expect.stringMatching(problem) });
  expect(server.requests).toHaveLength(1);
});

test('a larger token limit and a fallback do not ask for whole replies again', async () => {
  const path = join(folder, 'limits.jsonl');
  const server = await scriptedServer({ model: 'wise', chat: () => 'm' });
  const endpoint = createEndpoint({ url: server.url, model: 'wise' });
  const ask = async (request?: Record<string, unknown>, maxTokens?: number) => {
    const cache = await openReplyCache(path, isJudgeReply);
    const client = request ? createEndpoint({ url: server.url, model: 'wise', request }) : endpoint;
    const judge = await endpointJudge({ endpoint: client, form: 'verdict', prompt: judgePrompt, cache, maxTokens });
    await judge(texts);
    await cache.close();
    return server.requests.length;
  };
  expect(await ask()).toBe(1);
  expect(await ask(undefined, 4096)).toBe(1);
  expect(await ask({ reasoning_effort: 'low' })).toBe(2); // another request
});
