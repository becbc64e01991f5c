import * as v from 'valibot';
import { afterEach, expect, test, vi } from 'vitest';
import { createEndpoint, type EndpointOptions } from '../../src/node';
import { type ScriptedFault, type ScriptedServer, scriptedServer } from '../scripted-server';

afterEach(() => vi.unstubAllEnvs());

const hello = [{ role: 'user', content: 'hello' }];
const at = ({ url }: ScriptedServer, more: Partial<EndpointOptions> = {}) => createEndpoint({ url, ...more });
const failure = (promise: Promise<unknown>) =>
  promise.then(
    () => expect.unreachable(),
    (error: Error & { status?: number }) => error,
  );

test('chat sends a conversation to the one model that the server has, and returns its answer', async () => {
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

test('chat returns the log-probs of each token and of the most likely tokens at its position', async () => {
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

test('post starts at the server’s root, whether or not the address ends in /v1', async () => {
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
  ['a connection that closes during a reply', 'half'],
  ['half a reply with the length of the half', 'malformed'],
  ['a reply without an answer', 'empty'],
  ['no reply in time', 'silence'],
];

test.each(faults)('retries after %s', async (_, fault) => {
  const server = await scriptedServer({ fault: (number) => (number === 0 ? fault : undefined) });
  expect(await at(server, { model: 'm', timeout: 1000 }).chat(hello)).toEqual({ text: 'olleh', finishReason: 'stop' });
  expect(server.requests).toHaveLength(2);
  expect(server.requests[1]!.body).toEqual(server.requests[0]!.body);
});

test('the error after the last attempt names URL, status, attempts and the start of the body', async () => {
  const page = `<html>\n  <h1>Bad gateway</h1>${'x'.repeat(500)}</html>`;
  const server = await scriptedServer({
    fault: () => ({ status: 502, body: page, headers: { 'retry-after-ms': '1' } }),
  });
  const error = await failure(at(server, { model: 'm', retries: 2 }).chat(hello));
  expect(server.requests).toHaveLength(3);
  expect(error.status).toBe(502);
  expect(error.message).toBe(
    `${server.url}/chat/completions: expected a reply, found status 502 after 3 attempts: <html> <h1>Bad gateway</h1>${'x'.repeat(273)}… (207 more characters). ` +
      'Check that the server is running, then run the same command again.',
  );
});

test.each([
  [400, 'The server refuses this request.'],
  [401, 'Set WPO_API_KEY (or OPENAI_API_KEY) to a key that this server accepts.'],
  [404, 'Check the address and the model’s name.'],
  [307, 'No request follows a redirect. Give the address that the server names.'],
])('status %i is not retried', async (status, hint) => {
  const server = await scriptedServer({ fault: () => ({ status, body: '{"error": "no"}' }) });
  const error = await failure(at(server, { model: 'm' }).chat(hello));
  expect(error.message).toBe(`${server.url}/chat/completions: expected a reply, found status ${status}: no. ${hint}`);
  expect(server.requests).toHaveLength(1);
});

test('the error about a server that does not answer names its address', async () => {
  const server = await scriptedServer();
  await server.close();
  const error = await failure(at(server, { model: 'm', retries: 0 }).chat(hello));
  expect(error.message).toContain(
    `${server.url}/chat/completions: expected a reply, found no complete reply (ECONNREFUSED). Check that`,
  );
  expect(error.status).toBeUndefined();
});

test('takes the key from WPO_API_KEY, else OPENAI_API_KEY, and never shows it, even if the server repeats it', async () => {
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
  expect(() => at(server)).toThrow(/^API key in the environment: expected visible ASCII characters only/);
});

test('sends a name and password from the address, and never shows them', async () => {
  const server = await scriptedServer({ fault: () => ({ status: 403, body: 'no ada:p@ss' }) });
  const url = server.url.replace('//', '//ada:p%40ss@');
  const error = await failure(createEndpoint({ url, model: 'm' }).chat(hello));
  expect(server.requests[0]!.headers.authorization).toBe(`Basic ${Buffer.from('ada:p@ss').toString('base64')}`);
  expect(error.message).toContain(`${server.url}/chat/completions: expected a reply, found status 403: no ***.`);
  expect(() => createEndpoint({ url: 'ftp://ada:p%40ss@host' })).toThrow(
    'server address: expected an http or https URL, found "ftp://***@host".',
  );
});

test('lists the models of a server that has several if none is named', async () => {
  const server = await scriptedServer({
    fault: () => ({ status: 200, body: '{"data": [{"id": "a"}, {"id": "b"}]}' }),
  });
  const error = await failure(at(server).chat(hello));
  expect(error.message).toBe(
    `${server.url}/models: expected one model, found 2 (a, b). Give the name of the model to use.`,
  );
});

test('an abort ends the wait before a retry, and no further attempt starts', async () => {
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
