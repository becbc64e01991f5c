import * as v from 'valibot';
import { afterEach, expect, test, vi } from 'vitest';
import { createEndpoint, type EndpointOptions } from '../../src/node/endpoint';
import { type ScriptedFault, type ScriptedServer, scriptedServer } from '../scripted-server';

afterEach(() => vi.unstubAllEnvs());

const hello = [{ role: 'user', content: 'hello' }];
const at = ({ url }: ScriptedServer, more: Partial<EndpointOptions> = {}) => createEndpoint({ url, ...more });
const failure = (promise: Promise<unknown>) =>
  promise.then(
    () => expect.unreachable(),
    (error: Error & { status?: number }) => error,
  );

test('a conversation is sent in OpenAI’s form to the one model that is served, and its answer comes back', async () => {
  const server = await scriptedServer({ model: 'gemma' });
  const endpoint = at(server);
  const options = { temperature: 0.8, topP: 0.95, seed: 13, maxTokens: 7 };
  expect(await endpoint.chat(hello, options)).toEqual({ text: 'olleh', finishReason: 'stop' });
  await endpoint.chat(hello);
  expect(server.requests.map(({ path, body }) => [path, body])).toEqual([
    ['/v1/models', {}],
    [
      '/v1/chat/completions',
      { model: 'gemma', messages: hello, temperature: 0.8, top_p: 0.95, seed: 13, max_tokens: 7 },
    ],
    ['/v1/chat/completions', { model: 'gemma', messages: hello }],
  ]);
});

test('log-probs come token by token with the likeliest in each place', async () => {
  const top_logprobs = [
    { token: 'm', logprob: -0.1, bytes: [109] },
    { token: 'M', logprob: -2.5, bytes: [77] },
  ];
  const server = await scriptedServer({
    chat: () => ({
      finish_reason: 'length',
      message: { content: 'm' },
      logprobs: { content: [{ token: 'm', logprob: -0.1, bytes: [109], top_logprobs }] },
    }),
  });
  const top = [
    { token: 'm', logprob: -0.1 },
    { token: 'M', logprob: -2.5 },
  ];
  expect(await at(server, { model: 'judge' }).chat(hello, { topLogprobs: 2 })).toEqual({
    text: 'm',
    finishReason: 'length',
    logprobs: [{ token: 'm', logprob: -0.1, top }],
  });
  expect(server.requests[0]!.body).toEqual({ model: 'judge', messages: hello, logprobs: true, top_logprobs: 2 });
});

test('vLLM’s own paths begin at the server’s root, with /v1 in the address or without', async () => {
  const server = await scriptedServer();
  const parse = (reply: unknown) => v.parse(v.object({ data: v.array(v.object({ score: v.number() })) }), reply);
  for (const url of [server.url, `${server.url}/`, server.url.replace('/v1', '')]) {
    const endpoint = createEndpoint({ url });
    expect((await endpoint.post('/score', { text_1: 'a', text_2: 'bcd' }, parse)).data[0]!.score).toBe(3);
    expect((await endpoint.chat(hello)).text).toBe('olleh');
  }
});

const faults: [string, ScriptedFault][] = [
  ['429 with Retry-After', { status: 429, headers: { 'retry-after': '0' } }],
  ['a date in Retry-After', { status: 503, headers: { 'retry-after': new Date(0).toUTCString() } }],
  ['status 500', { status: 500, headers: { 'retry-after-ms': '1' } }],
  ['an HTML error page', { status: 502, body: '<html>Bad gateway</html>', headers: { 'retry-after-ms': '1' } }],
  ['a reset connection', 'reset'],
  ['a connection that ends in the middle of a reply', 'half'],
  ['half a reply that says it is whole', 'malformed'],
  ['a reply without an answer', 'empty'],
  ['no reply in time', 'silence'],
];

test.each(faults)('after %s the same is asked again, and answered', async (_, fault) => {
  const server = await scriptedServer({ fault: (number) => (number === 0 ? fault : undefined) });
  expect(await at(server, { model: 'm', timeout: 1000 }).chat(hello)).toEqual({ text: 'olleh', finishReason: 'stop' });
  expect(server.requests).toHaveLength(2);
  expect(server.requests[1]!.body).toEqual(server.requests[0]!.body);
});

test('an answer that does not say why it ended is not whole', async () => {
  let asked = 0;
  const server = await scriptedServer({
    chat: () => (asked++ === 0 ? { finish_reason: null, message: { content: 'hal' } } : 'half a word'),
  });
  expect((await at(server, { model: 'm' }).chat(hello)).text).toBe('half a word');
});

test('a failure for good names URL, status, tries and how the body began', async () => {
  const page = `<html>\n  <h1>Bad gateway</h1>${'x'.repeat(500)}</html>`;
  const server = await scriptedServer({
    fault: () => ({ status: 502, body: page, headers: { 'retry-after-ms': '1' } }),
  });
  const error = await failure(at(server, { model: 'm', retries: 2 }).chat(hello));
  expect(server.requests).toHaveLength(3);
  expect(error.status).toBe(502);
  expect(error.message).toBe(
    `${server.url}/chat/completions: found status 502 after 3 tries: <html> <h1>Bad gateway</h1>${'x'.repeat(173)}…. ` +
      'See whether the server is well, then run the same command again.',
  );
});

test.each([
  [400, 'The server refuses this request.'],
  [401, 'Set WPO_API_KEY (or OPENAI_API_KEY) to a key that this server takes.'],
  [404, 'Check the address and the model’s name.'],
  [307, 'The server refuses this request.'],
])('status %i is not asked again', async (status, mend) => {
  const server = await scriptedServer({ fault: () => ({ status, body: '{"error": "no"}' }) });
  const error = await failure(at(server, { model: 'm' }).chat(hello));
  expect(error.message).toBe(`${server.url}/chat/completions: found status ${status}: {"error": "no"}. ${mend}`);
  expect(server.requests).toHaveLength(1);
});

test('a server that is not there is told by its address', async () => {
  const server = await scriptedServer();
  await server.close();
  const error = await failure(at(server, { model: 'm', retries: 0 }).chat(hello));
  expect(error.message).toContain(`${server.url}/chat/completions: found no whole reply (ECONNREFUSED). See whether`);
  expect(error.status).toBeUndefined();
});

test('the key comes from the environment, WPO_API_KEY first, and is in no error, even where the server repeats it', async () => {
  const server = await scriptedServer({
    fault: (_, { headers }) => ({ status: 401, body: `Incorrect API key provided: ${headers.authorization}` }),
  });
  vi.stubEnv('OPENAI_API_KEY', 'sk-theirs');
  vi.stubEnv('WPO_API_KEY', '');
  await failure(at(server, { model: 'm' }).chat(hello));
  vi.stubEnv('WPO_API_KEY', 'sk-ours\n');
  const error = await failure(at(server, { model: 'm' }).chat(hello));
  expect(server.requests.map(({ headers }) => headers.authorization)).toEqual(['Bearer sk-theirs', 'Bearer sk-ours']);
  expect(error.message).toContain('Incorrect API key provided: Bearer ***.');
  vi.stubEnv('WPO_API_KEY', 'sk-ou\nrs');
  expect(() => at(server)).toThrow(/^the API key in the environment has a character that no key has/);
});

test('a name and password in the address are sent, and shown nowhere', async () => {
  const server = await scriptedServer({ fault: () => ({ status: 403, body: 'no ada:p@ss' }) });
  const url = server.url.replace('//', '//ada:p%40ss@');
  const error = await failure(createEndpoint({ url, model: 'm' }).chat(hello));
  expect(server.requests[0]!.headers.authorization).toBe(`Basic ${Buffer.from('ada:p@ss').toString('base64')}`);
  expect(error.message).toContain(`${server.url}/chat/completions: found status 403: no ***.`);
  expect(() => createEndpoint({ url: 'ftp://ada:p%40ss@host' })).toThrow(
    'found the address "ftp://host", wanted one as http://localhost:8000/v1.',
  );
});

test('several models served, and none named, is refused by their names', async () => {
  const server = await scriptedServer({
    fault: () => ({ status: 200, body: '{"data": [{"id": "a"}, {"id": "b"}]}' }),
  });
  const error = await failure(at(server).chat(hello));
  expect(error.message).toBe(`${server.url}/models: found 2 models (a, b), wanted the name of one.`);
});

test('once stopped no try begins, and a wait ends', async () => {
  const stop = new AbortController();
  const server = await scriptedServer({
    fault: () => {
      setTimeout(() => stop.abort(), 20);
      return { status: 503, headers: { 'retry-after': '3600' } };
    },
  });
  const error = await failure(at(server, { model: 'm', signal: stop.signal }).chat(hello));
  expect(error.message).toContain('status 503');
  expect(server.requests).toHaveLength(1);
});
