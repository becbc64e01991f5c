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
    logprobs: [{ token: 'm', top }],
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
    `${server.url}/chat/completions: expected a reply, found status 502 after 3 attempts: <html> <h1>Bad gateway</h1>${'x'.repeat(273)}… (234 more characters). ` +
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

/** Refuses a field as OpenAI does. */
const refusing = (...fields: readonly string[]) =>
  scriptedServer({
    model: 'gemma',
    fault: (_, { body }) => {
      const param = fields.find((field) => body[field] !== undefined);
      const error = { message: `Unsupported parameter: '${param}' is not supported with this model.`, param };
      return param === undefined ? undefined : { status: 400, body: JSON.stringify({ error }) };
    },
  });

test('fields that the server does not accept are left out or renamed, from then on, with one notice each', async () => {
  const server = await refusing('max_tokens', 'temperature', 'top_p', 'seed');
  const notices: string[] = [];
  const endpoint = at(server, { model: 'gemma', onNotice: (text) => notices.push(text) });
  const options = { temperature: 0, topP: 0.9, seed: 1, maxTokens: 7 };
  const chats = Array.from({ length: 5 }, () => endpoint.chat(hello, options));
  for (const { text } of await Promise.all(chats)) expect(text).toBe('olleh');
  const before = server.requests.length;
  await endpoint.chat(hello, options);
  expect(server.requests).toHaveLength(before + 1);
  expect(server.requests.at(-1)!.body).toEqual({ model: 'gemma', messages: hello, max_completion_tokens: 7 });
  expect(notices.sort()).toEqual([
    `${server.url}: the server does not accept max_tokens. max_completion_tokens is sent instead.`,
    ...['seed', 'temperature', 'top_p'].map(
      (field) =>
        `${server.url}: the server does not accept ${field}. It is left out, so the server’s own value applies.`,
    ),
  ]);
});

test('a field that cannot be left out ends in an error with the server’s words and what to do', async () => {
  const logprobs = await refusing('logprobs');
  const error = await failure(at(logprobs, { model: 'm' }).chat(hello, { topLogprobs: 5 }));
  expect(error).toMatchObject({ status: 400, refusedField: 'logprobs' });
  expect(error.message).toContain(
    "found status 400: Unsupported parameter: 'logprobs' is not supported with this model. " +
      'Change the field with `request`, or leave it out with `request: {logprobs: null}`.',
  );
  const set = await refusing('temperature');
  await failure(at(set, { model: 'm', request: { temperature: 0.5 } }).chat(hello, { temperature: 0 }));
  expect(set.requests).toHaveLength(1); // the user set it
  const neither = await refusing('max_tokens', 'max_completion_tokens');
  await failure(at(neither, { model: 'm' }).chat(hello, { maxTokens: 7 }));
  expect(neither.requests).toHaveLength(2);
});

test('`request` adds, replaces and removes fields of the body', async () => {
  const server = await scriptedServer();
  const request = {
    temperature: null,
    max_tokens: 99,
    reasoning_effort: 'low',
    chat_template_kwargs: { thinking: false },
  };
  await at(server, { model: 'm', request }).chat(hello, { temperature: 0, maxTokens: 7 });
  expect(server.requests[0]!.body).toEqual({
    model: 'm',
    messages: hello,
    max_tokens: 99,
    reasoning_effort: 'low',
    chat_template_kwargs: { thinking: false },
  });
  for (const field of ['model', 'messages', 'n', 'stream']) {
    expect(() => at(server, { request: { [field]: 1 } })).toThrow(`request: ${field}: expected a field other than`);
  }
});

test('headers are sent with every request, and `authorization` replaces the key', async () => {
  vi.stubEnv('WPO_API_KEY', 'sk-ours');
  const server = await scriptedServer();
  await at(server, { headers: { 'api-key': 'abc', Authorization: 'Bearer other' } }).chat(hello);
  expect(server.requests).toHaveLength(2);
  for (const { headers } of server.requests) {
    expect(headers).toMatchObject({ 'api-key': 'abc', authorization: 'Bearer other' });
  }
  const bad: Record<string, string>[] = [
    { 'a b': 'x' },
    { 'content-length': '1' },
    { '': 'x' },
    { x: 'p4ss\n' },
    { x: 'p4ss\u00fc' },
  ];
  for (const headers of bad) {
    expect(() => at(server, { headers })).toThrow(/^headers: /);
    expect(() => at(server, { headers })).not.toThrow(/p4ss/);
  }
});

test('the query of the address goes with every request', async () => {
  const paths: string[] = [];
  const server = await scriptedServer({
    fault: (_, { path }) => {
      paths.push(path);
      return { status: 404, body: `no ${path}` };
    },
  });
  const base = server.url.replace('/v1', '/openai/deployments/gpt');
  const error = await failure(createEndpoint({ url: `${base}?api-version=2024-10-21`, model: 'm' }).chat(hello));
  expect(paths).toEqual(['/openai/deployments/gpt/chat/completions?api-version=2024-10-21']);
  expect(error.message).toContain(`${base}/chat/completions?***: expected a reply, found status 404`);
});

test('secrets are masked however the server repeats them, in errors and in answers', async () => {
  const [key, password, query] = ['sk-planted-0123456789', 'p4ss:w+rd/12', 'planted-query-1'];
  vi.stubEnv('WPO_API_KEY', key);
  const basic = Buffer.from(`ada:${password}`).toString('base64');
  const half = (text: string) => `${text.slice(0, 9)}\n ${text.slice(9)}`;
  const echoes = [
    key,
    half(key),
    basic,
    half(basic),
    `ada:${password}`,
    encodeURIComponent(password),
    query,
    'planted-head',
  ];
  for (const status of [400, 200]) {
    const server = await scriptedServer({
      chat: () => echoes.join(' | '),
      fault: () =>
        status === 400 ? { status, body: JSON.stringify({ error: { message: echoes.join(' | ') } }) } : undefined,
    });
    const headers = { 'api-key': 'planted-head' };
    for (const address of [server.url, server.url.replace('//', `//ada:${encodeURIComponent(password)}@`)]) {
      const chat = createEndpoint({ url: `${address}?k=${query}`, model: 'm', headers }).chat(hello);
      const said = status === 400 ? (await failure(chat)).message : (await chat).text;
      expect(said).toContain('***');
      // with user and password in the address, the key is not sent, and so is no secret of this server
      const inUse = address === server.url ? /planted|0123456789/ : /planted-query|planted-head|p4ss|YWRhOn/;
      expect(said).not.toMatch(inUse);
    }
  }
});

test('a word that stands for a key where none is needed stays in answers', async () => {
  for (const key of ['EMPTY', 'lm-studio', 'none']) {
    vi.stubEnv('WPO_API_KEY', key);
    const server = await scriptedServer({ chat: () => `Set the key to ${key}.` });
    expect((await at(server, { model: 'm' }).chat(hello)).text).toBe(`Set the key to ${key}.`);
  }
});

test('names of models with control characters are not used, and are printed as escapes', async () => {
  const server = await scriptedServer({ model: 'gem\u001b[2Jma' });
  const error = await failure(at(server).chat(hello));
  expect(error.message).toContain('expected a name of at most 200 printable characters, found "gem\\u001b[2Jma".');
});

test('a long wait is announced, once for all requests that wait', async () => {
  const stop = new AbortController();
  const server = await scriptedServer({
    fault: () => ({ status: 429, body: 'busy', headers: { 'retry-after': '60' } }),
  });
  const notices: string[] = [];
  const onNotice = (text: string) => {
    notices.push(text);
    setTimeout(() => stop.abort(), 50);
  };
  const endpoint = at(server, { model: 'm', signal: stop.signal, onNotice });
  await Promise.all(Array.from({ length: 12 }, () => failure(endpoint.chat(hello))));
  expect(notices).toEqual([`${server.url}/chat/completions: status 429. Waiting 60 s, then trying again.`]);
});
