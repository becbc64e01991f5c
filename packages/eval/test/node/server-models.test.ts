import { expect, test } from 'vitest';
import { createEndpoint, type RewardApi, rewardServer, serverSampler } from '../../src/node';
import { type Script, scriptedServer } from '../scripted-server';

const answer = { prompt_id: 'a', prompt: 'Ask', completion: 'xyz', source: 'gemma' };

async function scorer(api: RewardApi, script: Script = {}) {
  const server = await scriptedServer({ model: 'rm', ...script });
  return { server, ...(await rewardServer(createEndpoint({ url: server.url, retries: 0 }), api)) };
}

/** A server whose every reply to a POST is this one. */
const replying = (body: string): Script => ({
  fault: (_, { path }) => (path === '/v1/models' ? undefined : { status: 200, body }),
});

test.each(['pooling', 'classify', 'score'] as const)('the score of /%s is the model’s value', async (api) => {
  const { server, name, score } = await scorer(api, { reward: ({ length }) => length - 5 });
  expect([name, await score(answer)]).toEqual([`rm ${api}`, -2]);
  expect(server.requests.at(-1)).toMatchObject({ path: `/${api}`, body: { model: 'rm', use_activation: false } });
});

test.each([
  ['{"data": [{"data": [[0.5], [0.25]]}]}', 0.25],
  ['{"data": [{"data": [0.75]}]}', 0.75],
  ['{"data": [{"data": -3}]}', -3],
])('a reply of /pooling with %s is read as %d', async (body, expected) => {
  expect(await (await scorer('pooling', replying(body))).score(answer)).toBe(expected);
});

test.each([
  ['pooling', '{"data": [{"data": [0.5, 0.25]}]}', 'expected one number from /pooling, found 2'],
  ['classify', '{"data": [{"probs": [0.1, 0.9]}]}', 'expected one number from /classify, found 2'],
  ['pooling', '{"data": [{"data": []}]}', 'incomplete reply'],
  ['pooling', '{"data": []}', 'incomplete reply'],
  ['score', '{"data": [{"score": 1}, {"score": 2}]}', 'incomplete reply'],
  ['score', '{"data": [{"score": null}]}', 'incomplete reply'],
  ['score', '{"data": [{"score": "1"}]}', 'incomplete reply'],
  ['score', '{"data": [{"score": 1e999}]}', 'incomplete reply'],
  ['score', '{"data": [{"score": NaN}]}', 'text that is not JSON'],
  ['score', '{"error": {"message": "no reward model here"}}', 'an error: no reward model here'],
] as const)('a reply of /%s with %s is an error', async (api, body, message) => {
  const { score } = await scorer(api, replying(body));
  await expect(score(answer)).rejects.toThrow(message);
});

test('`request` adds fields to the requests of reward models, and removes others', async () => {
  const server = await scriptedServer({ model: 'rm' });
  const request = { use_activation: null, truncate_prompt_tokens: 4096 };
  const { score } = await rewardServer(createEndpoint({ url: server.url, request }), 'score');
  await score(answer);
  expect(server.requests.at(-1)!.body).toEqual({
    model: 'rm',
    text_1: 'Ask',
    text_2: 'xyz',
    truncate_prompt_tokens: 4096,
  });
});

test('a sampler sends one request per answer, with the seed and the sampling settings', async () => {
  const server = await scriptedServer({ model: 'm' });
  const params = { temperature: 0.7, topP: 0.9, maxNewTokens: 9, concurrency: 4 };
  const sampler = serverSampler(createEndpoint({ url: server.url }), params);
  expect([sampler.batchSize, sampler.concurrency]).toEqual([1, 4]);
  const requests = [13, 21].map((seed) => ({ prompt_id: 'a', prompt: 'abc', seed }));
  const answers = [];
  for await (const one of sampler.sample(requests)) answers.push(one);
  expect(answers).toEqual(requests.map((request) => ({ request, completion: 'cba', finish_reason: 'stop' })));
  const chats = server.requests.filter(({ path }) => path.endsWith('/chat/completions'));
  expect(chats.map(({ body }) => body)).toEqual(
    [13, 21].map((seed) => ({
      model: 'm',
      messages: [{ role: 'user', content: 'abc' }],
      temperature: 0.7,
      top_p: 0.9,
      seed,
      max_tokens: 9,
    })),
  );
});
