// Replies of faulty and hostile servers: damaged HTTP, wrong JSON, errors that repeat the request's keys.
import { createServer } from 'node:http';
import { type AddressInfo, createServer as createSocketServer } from 'node:net';
import { gzipSync } from 'node:zlib';
import { EvaluationError } from '@wpo/eval';
import { createEndpoint, EndpointError, rewardServer } from '@wpo/eval/node';
import fc from 'fast-check';
import { expectPlainError, type Family, mutatedBytes, mutatedJson, mutatedText } from '../family';

const KEY = 'sk-planted-0123456789';
process.env.WPO_API_KEY = KEY;

type Reply =
  | { readonly bytes: Uint8Array }
  | { readonly status: number; readonly headers: Readonly<Record<string, string>>; readonly body: string };

const top_logprobs = [
  { token: 'm', logprob: -0.1 },
  { token: 'M', logprob: -2.5 },
];
const chat = {
  id: 'x',
  choices: [
    {
      index: 0,
      finish_reason: 'stop',
      message: { role: 'assistant', content: `Yes, ${KEY}`, reasoning_content: 'Hm.', refusal: null },
      logprobs: { content: [{ token: 'm', logprob: -0.1, top_logprobs }] },
    },
  ],
};
const replies = [
  chat,
  {
    choices: [
      {
        finish_reason: null,
        message: {
          content: [
            { type: 'text', text: 'Yes' },
            { type: 'thinking', thinking: [] },
          ],
        },
      },
    ],
  },
  { choices: [{ finish_reason: 'content_filter' }] },
  { data: [{ index: 0, object: 'pooling', data: [[0.5], [0.25]] }] },
  { data: [{ id: 'gemma', object: 'model' }] },
];
const errors = [
  {
    error: {
      message: `Unsupported parameter: 'max_tokens' is not supported. Bearer ${KEY}`,
      param: 'max_tokens',
      code: 'unsupported_parameter',
    },
  },
  { error: { message: 'Provider returned error', code: 429, metadata: { raw: `no ${KEY}` } } },
  { detail: [{ type: 'extra_forbidden', loc: ['body', 'seed'], msg: 'Extra inputs are not permitted', input: 1 }] },
  [{ error: 'temperature must be strictly positive' }],
];
const text = (value: unknown) => {
  try {
    return JSON.stringify(value) ?? 'undefined';
  } catch {
    return '{'; // a lone surrogate, or nesting beyond the engine's stack
  }
};

const http = (head: string, body: string | Uint8Array) =>
  Buffer.concat([Buffer.from(`HTTP/1.1 ${head}\r\n\r\n`), Buffer.from(body)]);
const json = JSON.stringify(chat);
const raw = [
  http(`200 OK\r\nContent-Type: application/json\r\nContent-Length: ${json.length}`, json),
  http('200 OK\r\nTransfer-Encoding: chunked', `${json.length.toString(16)}\r\n${json}\r\n0\r\n\r\n`),
  http('200 OK\r\nContent-Encoding: gzip\r\nConnection: close', gzipSync(json)),
  http(`429 Slow\r\nRetry-After: 86400\r\nContent-Length: 4`, 'slow'),
  http(`307 Moved\r\nLocation: http://127.0.0.1:9/?k=${KEY}\r\nContent-Length: 0`, ''),
  http('100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nConnection: close', json),
];

const headers = fc.record(
  {
    'retry-after': fc.constantFrom('0', '86400', '-1', 'soon', '1e999', 'Fri, 31 Dec 9999 23:59:59 GMT'),
    'content-type': fc.constantFrom('application/json', 'text/html', 'x\u00ff'),
    'content-encoding': fc.constantFrom('gzip', 'br', 'identity', 'x'),
    location: fc.constantFrom('/', 'http://127.0.0.1:9/', `//user:${KEY}@host`, 'javascript:x'),
  },
  { requiredKeys: [] },
) as fc.Arbitrary<Record<string, string>>;
const status = fc.constantFrom(
  200,
  200,
  200,
  201,
  204,
  301,
  307,
  400,
  400,
  401,
  403,
  404,
  413,
  422,
  429,
  500,
  501,
  503,
  599,
);

const input: fc.Arbitrary<Reply> = fc.oneof(
  { weight: 2, arbitrary: mutatedBytes(raw).map((bytes) => ({ bytes })) },
  {
    weight: 3,
    arbitrary: fc.record({ status: fc.constant(200), headers: fc.constant({}), body: mutatedJson(replies).map(text) }),
  },
  { weight: 2, arbitrary: fc.record({ status, headers, body: mutatedJson(errors).map(text) }) },
  { weight: 1, arbitrary: fc.record({ status, headers, body: mutatedText([...replies, ...errors].map(text)) }) },
);

let reply: Reply = { bytes: new Uint8Array() };
const listening = async (server: {
  listen(port: number, host: string, done: () => void): unknown;
  address(): unknown;
}) => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`;
};
const sockets = listening(
  createSocketServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', () => socket.end((reply as { bytes: Uint8Array }).bytes));
  }),
);
const servers = listening(
  createServer((request, response) => {
    const { status, headers, body } = reply as Exclude<Reply, { bytes: unknown }>;
    request.resume();
    response.writeHead(status, { ...headers, connection: 'close' }).end(body);
  }),
);

const messages = [{ role: 'user', content: 'hello' }];
const options = { temperature: 0, seed: 1, maxTokens: 5, topLogprobs: 2 };
const answer = { prompt_id: 'a', prompt: 'hello', completion: 'x', source: 'm' };

export const family: Family<Reply> = {
  name: 'server-replies',
  input,
  async check(input, { count }) {
    reply = input;
    const url = await ('bytes' in input ? sockets : servers);
    const notices: string[] = [];
    const endpoint = createEndpoint({
      url,
      model: 'm',
      retries: 0,
      timeout: 5000,
      onNotice: (notice) => notices.push(notice),
    });
    const anyModel = createEndpoint({ url, retries: 0, timeout: 5000 });
    const uses = {
      chat: async () => {
        const { text, finishReason, reasoning = '', logprobs = [] } = await endpoint.chat(messages, options);
        const areFinite = logprobs.every(({ top }) => top.every(({ logprob }) => Number.isFinite(logprob)));
        if (
          typeof text !== 'string' ||
          typeof reasoning !== 'string' ||
          !areFinite ||
          !/^(stop|length)$/.test(finishReason)
        ) {
          throw new TypeError(
            `an answer of wrong types: ${JSON.stringify({ text, finishReason, reasoning, logprobs })}`,
          );
        }
        return text + reasoning;
      },
      model: () => anyModel.model(),
      reward: async () => {
        const score = await (await rewardServer(endpoint, 'pooling')).score(answer);
        if (!Number.isFinite(score)) throw new TypeError(`a score of ${score}`);
        return String(score);
      },
    };
    for (const [name, run] of Object.entries(uses)) {
      let said: string;
      try {
        said = await run();
        count(`${name} read`);
      } catch (error) {
        if (!(error instanceof EvaluationError)) throw error;
        expectPlainError(error);
        said = error.message;
        count(`${name} refused${error instanceof EndpointError && error.status === undefined ? ', no reply' : ''}`);
      }
      for (const shown of [said, ...notices]) if (shown.includes(KEY)) throw new Error(`the key is shown: ${shown}`);
    }
  },
};
