import type { Message } from '@wpo/data';
import { withRetries } from '@wpo/internal/node/retry';
import { Agent } from 'undici';
import * as v from 'valibot';
import { EvaluationError } from '../errors';
import { type ChatAnswer, type ChatOptions, chatBody, parseChat } from './chat';
import { RequestError, sendOnce } from './request';

export interface EndpointOptions {
  /** The server's base URL, with or without `/v1`. */
  readonly url: string;
  /** The model's name. Default the model that the server serves, if it serves only one. */
  readonly model?: string;
  /** Milliseconds for one attempt, until the reply's last byte. Default 600,000 (ten minutes). */
  readonly timeout?: number;
  /** Attempts after the first. Default 6. */
  readonly retries?: number;
  /** Once aborted, waiting ends and no attempt starts. A running attempt is not interrupted. */
  readonly signal?: AbortSignal;
}

/** A client for one model of an OpenAI-compatible server, such as vLLM. Its methods throw `EndpointError`. */
export interface Endpoint {
  /** The model's name: the one given, or the only one that the server serves. */
  model(): Promise<string>;
  /** Asks for the answer to a conversation. */
  chat(messages: readonly Message[], options?: ChatOptions): Promise<ChatAnswer>;
  /**
   * Sends any other request, such as vLLM's `/pooling`.
   *
   * @param path from the server's root, without `/v1`
   * @param parse gets the reply's JSON; if it throws, the reply counts as incomplete and the request is sent again
   */
  post<T>(path: string, body: unknown, parse: (reply: unknown) => T): Promise<T>;
}

/** A request that failed after all its attempts. */
export class EndpointError extends EvaluationError {
  override readonly name = 'EndpointError';

  constructor(
    message: string,
    /** HTTP status of the last reply; absent if none arrived. */
    readonly status?: number,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/**
 * Creates a client for an OpenAI-compatible server.
 *
 * A request is retried after a network error, after status 408, 409, 425, 429 or 5xx, and after an incomplete reply. It
 * waits as long as the server's `Retry-After` asks, else with exponential backoff. The API key is `WPO_API_KEY` from the
 * environment, else `OPENAI_API_KEY`; it is never shown in an error. Errors name the URL, the status and the start of the
 * reply's body.
 *
 * @throws {EvaluationError} if `url` is not an http URL, or the key has characters that no key has
 */
export function createEndpoint(options: EndpointOptions): Endpoint {
  const { timeout = 600_000, retries = 6, signal } = options;
  const { openai, root, credentials } = parseAddress(options.url);
  const key = apiKey();
  const headers = authorization(key, credentials);
  // fetch's default agent gives up after five minutes without a reply, whatever the request's own timeout
  const agent = new Agent({ headersTimeout: 0, bodyTimeout: 0 });

  async function send<T>(method: 'GET' | 'POST', url: string, body: unknown, parse: (reply: unknown) => T): Promise<T> {
    let attempts = 0;
    const attempt = () => {
      attempts += 1;
      return sendOnce({ method, url, headers, body, timeout, agent }, parse);
    };
    try {
      return await withRetries(attempt, {
        retries,
        signal,
        isRetryable: (error) => error instanceof RequestError && error.isRetryable,
        requestedDelay: (error) => (error as RequestError).retryAfter,
      });
    } catch (error) {
      throw error instanceof RequestError ? endpointError(url, error, attempts, [key, credentials]) : error;
    }
  }

  let name: Promise<string> | undefined;
  const model = () => {
    name ??= options.model === undefined ? servedModel(openai, send) : Promise.resolve(options.model);
    return name;
  };
  return {
    model,
    chat: async (messages, chat = {}) =>
      send('POST', `${openai}/chat/completions`, chatBody(await model(), messages, chat), parseChat),
    post: (path, body, parse) => send('POST', `${root}${path}`, body, parse),
  };
}

/** The parts of a server's address. */
export interface ServerAddress {
  /** Base of OpenAI's paths, e.g. `http://localhost:8000/v1`. */
  readonly openai: string;
  /** Base of the server's own paths, such as vLLM's `/pooling`: the same without `/v1`. */
  readonly root: string;
  /** `user:password` from the address. The other fields do not contain it. */
  readonly credentials?: string;
}

/**
 * Parses a base URL, with or without `/v1` at its end.
 *
 * @throws {EvaluationError} if it is not an http URL; the error does not show a password in it
 */
export function parseAddress(text: string): ServerAddress {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol)) {
    const shown = JSON.stringify(text.replace(/\/\/.*@/, '//'));
    throw new EvaluationError(
      `server address: expected an http or https URL, found ${shown}. Write it like http://localhost:8000/v1.`,
    );
  }
  const base = `${url.origin}${url.pathname}`.replace(/\/+$/, '');
  return {
    openai: base === url.origin ? `${base}/v1` : base,
    root: base.replace(/\/v1$/, ''),
    ...(url.username === '' ? {} : { credentials: decodeURIComponent(`${url.username}:${url.password}`) }),
  };
}

const apiKey = () => (process.env.WPO_API_KEY || process.env.OPENAI_API_KEY)?.trim() || undefined;

function authorization(key: string | undefined, credentials: string | undefined): Record<string, string> {
  if (credentials !== undefined) return { authorization: `Basic ${Buffer.from(credentials).toString('base64')}` };
  if (key === undefined) return {};
  if (/^[\x21-\x7e]+$/.test(key)) return { authorization: `Bearer ${key}` };
  throw new EvaluationError(
    'API key in the environment: expected visible ASCII characters only, found others. Set WPO_API_KEY again.',
  );
}

const modelList = v.object({ data: v.array(v.object({ id: v.string() })) });

async function servedModel(
  openai: string,
  send: (method: 'GET', url: string, body: undefined, parse: (reply: unknown) => string[]) => Promise<string[]>,
): Promise<string> {
  const url = `${openai}/models`;
  const names = await send('GET', url, undefined, (reply) => v.parse(modelList, reply).data.map(({ id }) => id));
  if (names.length === 1) return names[0]!;
  const found = names.length === 0 ? 'none' : `${names.length} (${names.slice(0, 5).join(', ')})`;
  throw new EvaluationError(`${url}: expected one model, found ${found}. Give the name of the model to use.`);
}

const SHOWN_CHARACTERS = 200;

function endpointError(
  url: string,
  error: RequestError,
  attempts: number,
  secrets: readonly (string | undefined)[],
): EndpointError {
  const redact = (text: string) =>
    secrets.reduce<string>((redacted, secret) => (secret ? redacted.replaceAll(secret, '***') : redacted), text);
  const body = redact(error.body?.replace(/\s+/g, ' ').trim() ?? '');
  const shown = body.length > SHOWN_CHARACTERS ? `${body.slice(0, SHOWN_CHARACTERS)}…` : body;
  const after = attempts === 1 ? '' : ` after ${attempts} attempts`;
  const found = `${redact(error.message)}${after}${shown && `: ${shown}`}`;
  return new EndpointError(`${url}: expected a reply, found ${found}. ${hintFor(error)}`, error.status);
}

function hintFor({ status, isRetryable }: RequestError): string {
  if (status === 401 || status === 403) return 'Set WPO_API_KEY (or OPENAI_API_KEY) to a key that this server accepts.';
  if (status === 404) return 'Check the address and the model’s name.';
  return isRetryable
    ? 'Check that the server is running, then run the same command again.'
    : 'The server refuses this request.';
}
