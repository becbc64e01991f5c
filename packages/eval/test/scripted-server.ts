import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll } from 'vitest';

/** A request as the server received it. */
export interface ScriptedRequest {
  readonly path: string;
  readonly headers: IncomingMessage['headers'];
  /** Empty for a GET. */
  readonly body: ScriptedBody;
}

/** The fields of the requests that this server answers, and any others. */
export interface ScriptedBody {
  readonly model?: string;
  readonly messages?: readonly { readonly role: string; readonly content: string }[];
  readonly seed?: number;
  readonly text_1?: string;
  readonly text_2?: string;
  readonly [field: string]: unknown;
}

/** A failure of the server. */
export type ScriptedFault =
  | { readonly status: number; readonly body?: string; readonly headers?: Record<string, string> }
  /** No reply, and the connection stays open. */
  | 'silence'
  /** The connection is reset before the reply. */
  | 'reset'
  /** The connection closes during the reply. */
  | 'half'
  /** Status 200 with the first half of the reply, and the length of that half. */
  | 'malformed'
  /** Status 200 with JSON that has no answer. */
  | 'empty';

export interface Script {
  /** The model that is served. Default `scripted`. */
  readonly model?: string;
  /** The answer to a conversation: its text, or a whole choice. Default the last turn's text, reversed. */
  readonly chat?: (body: ScriptedBody) => string | Record<string, unknown>;
  /** The reward of an answer. Default its length. */
  readonly reward?: (answer: string) => number;
  /** The failure of a request, by its index in order of arrival. Default none. */
  readonly fault?: (number: number, request: ScriptedRequest) => ScriptedFault | undefined;
  /** Milliseconds before each reply. Default 0. */
  readonly delay?: number;
}

export interface ScriptedServer {
  /** With `/v1`. */
  readonly url: string;
  /** All requests, in order of arrival. */
  readonly requests: readonly ScriptedRequest[];
  /** The requests that got their complete reply, in that order. */
  readonly answered: readonly ScriptedRequest[];
  /** The largest number of requests at one time. */
  readonly mostAtOnce: number;
  close(): Promise<void>;
}

const open: ScriptedServer[] = [];
afterAll(async () => {
  for (const server of open) await server.close();
});

/**
 * A local server with the paths of OpenAI and vLLM. It answers by rules, fails as scripted, and records its
 * requests. It is closed after the file's last test.
 */
export async function scriptedServer(script: Script = {}): Promise<ScriptedServer> {
  const requests: ScriptedRequest[] = [];
  const answered: ScriptedRequest[] = [];
  let [now, most] = [0, 0];
  const server = createServer(async (incoming, response) => {
    const request = await received(incoming);
    const number = requests.push(request) - 1;
    const fault = script.fault?.(number, request);
    now += 1;
    most = Math.max(most, now);
    response.once('close', () => {
      now -= 1;
    });
    if (script.delay) await new Promise((resolve) => setTimeout(resolve, script.delay));
    if (fault !== undefined) return fail(response, fault, replyTo(request, script));
    // recorded before it is sent, so that a client with a reply finds its request here
    answered.push(request);
    send(response, 200, JSON.stringify(replyTo(request, script)));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const scripted: ScriptedServer = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`,
    requests,
    answered,
    get mostAtOnce() {
      return most;
    },
    close: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
  open.push(scripted);
  return scripted;
}

async function received(incoming: IncomingMessage): Promise<ScriptedRequest> {
  let text = '';
  for await (const chunk of incoming) text += chunk;
  return {
    path: incoming.url!,
    headers: incoming.headers,
    body: text === '' ? {} : (JSON.parse(text) as ScriptedBody),
  };
}

function fail(response: ServerResponse, fault: ScriptedFault, reply: unknown): void {
  const text = JSON.stringify(reply);
  const start = text.slice(0, text.length / 2);
  if (typeof fault === 'object') send(response, fault.status, fault.body ?? '{"error": "scripted"}', fault.headers);
  if (fault === 'reset') response.socket!.resetAndDestroy();
  if (fault === 'malformed') send(response, 200, start);
  if (fault === 'empty') send(response, 200, '{"object": "list"}');
  if (fault === 'half') {
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': text.length });
    response.write(start, () => response.socket!.destroy());
  }
}

function send(response: ServerResponse, status: number, text: string, headers: Record<string, string> = {}): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(text);
}

/** Replies in the format of vLLM's protocol files. */
function replyTo({ path, body }: ScriptedRequest, script: Script): unknown {
  const { model = 'scripted', chat = reversed, reward = (answer) => answer.length } = script;
  const list = (object: string, fields: object) => ({
    id: 'scripted',
    object: 'list',
    created: 0,
    model,
    data: [{ index: 0, object, ...fields }],
    usage: { prompt_tokens: 1, total_tokens: 1 },
  });
  const score = () => reward(body.text_2 ?? lastOf(body));
  switch (path.split('?')[0]) {
    case '/v1/models':
      return { object: 'list', data: [{ id: model, object: 'model' }] };
    case '/v1/chat/completions':
      return { id: 'scripted', object: 'chat.completion', model, choices: [choice(chat(body))] };
    case '/pooling':
      return list('pooling', { data: [score()] });
    case '/classify':
      return list('classify', { label: 'LABEL_0', probs: [score()], num_classes: 1 });
    case '/score':
      return list('score', { score: score() });
    default:
      return { error: { message: `no ${path} here` } };
  }
}

const choice = (answer: string | Record<string, unknown>) =>
  typeof answer === 'string'
    ? { index: 0, finish_reason: 'stop', message: { role: 'assistant', content: answer } }
    : { index: 0, ...answer };

const reversed = (body: ScriptedBody) => [...lastOf(body)].reverse().join('');

const lastOf = ({ messages }: ScriptedBody) => messages!.at(-1)!.content;
