import { setMaxListeners } from 'node:events';
import type { Message } from '@wpo/data';
import { printableAddress } from '@wpo/internal/node/redact';
import { durationText, isTooLong, withRetries } from '@wpo/internal/node/retry';
import { printable } from '@wpo/internal/printable';
import * as v from 'valibot';
import { EvaluationError } from '../errors';
import { parseAddress } from './address';
import { type ChatAnswer, type ChatOptions, chatBody, parseChat } from './chat';
import { apiKey, authorization, checkHeaders, secretsOf } from './credentials';
import { lazyAgent, RequestError, sendOnce } from './request';
import { adapter, type RequestFields, requestFields } from './request-fields';
import { namedField, refusedField, serverWords } from './server-words';

export interface EndpointOptions {
  /** The server's base URL, with or without `/v1`. Its query is kept. See `parseAddress`. */
  readonly url: string;
  /** The model's name. Default the model that the server serves, if it serves only one. */
  readonly model?: string | undefined;
  /** Milliseconds for one attempt, until the reply's last byte. Default 600,000 (ten minutes). */
  readonly timeout?: number;
  /** Attempts after the first. Default 6. */
  readonly retries?: number;
  /** Headers of every request, beside those of the client. `authorization` replaces the API key. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** Fields that are added to the body of every POST request, or replaced; null removes a field. */
  readonly request?: RequestFields | undefined;
  /** Once aborted, waiting ends and no attempt starts. Running attempts have `grace` milliseconds to finish. */
  readonly signal?: AbortSignal;
  /** Default 8000. */
  readonly grace?: number;
  /** Receives what the user should know while requests are sent: a long wait, or a field that the server does not accept. */
  readonly onNotice?: (text: string) => void;
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
  post<T>(path: string, body: object, parse: (reply: unknown) => T): Promise<T>;
  /** The fields that the user adds to each body. */
  readonly request: RequestFields;
}

/** A request that failed after all its attempts. */
export class EndpointError extends EvaluationError {
  override readonly name = 'EndpointError';

  constructor(
    message: string,
    /** HTTP status of the last reply; absent if none arrived. */
    readonly status?: number,
    /** The field of the request that the server does not accept, if it says so. */
    readonly refusedField?: string,
    /** The server replied without an answer, e.g. because of its content filter. */
    readonly isFiltered = false,
  ) {
    super(message);
  }
}

/** Statuses with which servers refuse a field of a request. */
const REFUSALS: readonly (number | undefined)[] = [400, 403, 422, 501];

/**
 * Creates a client for an OpenAI-compatible server.
 *
 * A request is retried after a network error, after status 408, 409, 425, 429 or 5xx, and after an incomplete reply. It
 * waits as long as the server's `Retry-After` asks, up to five minutes, else with exponential backoff. If a server does not
 * accept `max_tokens`, `temperature`, `top_p` or `seed`, the request is sent again with `max_completion_tokens` or without
 * that field. The API key is `WPO_API_KEY` from the environment, else `OPENAI_API_KEY`; keys and passwords are never shown
 * in an error, nor taken from a reply. Errors name the URL, the status and the server's words.
 *
 * @throws {EvaluationError} if `url` is not an http URL, a header or a field of `request` cannot be sent, or the key has
 *   characters that no key has
 */
export function createEndpoint(options: EndpointOptions): Endpoint {
  const { retries = 6, signal, grace = 8000, onNotice = () => {} } = options;
  const timeout = Math.min(options.timeout ?? 600_000, 2 ** 31 - 1); // a longer timer would end at once
  const { openai, root, query, credentials } = parseAddress(options.url);
  const key = apiKey();
  const headers = { ...authorization(key, credentials), ...checkHeaders(options.headers) };
  const fields = requestFields(options.request);
  const { hide, hideInReplies } = secretsOf({ key, credentials, query, headers });
  const agent = lazyAgent();
  const running = new Set<() => void>();
  if (signal !== undefined) {
    setMaxListeners(0, signal); // each waiting request listens
    const stopAll = () => {
      for (const stop of running) stop();
    };
    signal.addEventListener('abort', () => void setTimeout(stopAll, grace).unref(), { once: true });
  }
  const notify = onceEach((text) => onNotice(`${printableAddress(openai)}: ${text}`));
  const isWaiting = quietFor();

  async function send<T>(
    method: 'GET' | 'POST',
    url: string,
    body: object | undefined,
    parse: (reply: unknown) => T,
  ): Promise<T> {
    let attempts = 0;
    let last = '';
    const attempt = async () => {
      if (signal?.aborted) throw new RequestError('no request: the command was stopped', { isRetryable: false });
      attempts += 1;
      const request = { method, url: url + query, headers, body, timeout, agent, redact: hideInReplies, running };
      return sendOnce(request, parse).catch((error: Error) => {
        last = hide(error.message);
        throw error;
      });
    };
    try {
      return await withRetries(attempt, {
        retries,
        ...(signal && { signal }),
        isRetryable: (error) => error instanceof RequestError && error.isRetryable,
        requestedDelay: (error) => (error as RequestError).retryAfter,
        onWait(delay) {
          if (!isWaiting(delay)) {
            onNotice(
              `${printableAddress(url)}: ${printable(last, 200)}. Waiting ${durationText(delay)}, then trying again.`,
            );
          }
        },
      });
    } catch (error) {
      throw error instanceof RequestError ? endpointError(url + query, error, { attempts, body, hide }) : error;
    }
  }

  /** Sends a POST request, without the fields that the server has been found not to accept. */
  const adapt = adapter(fields, notify);
  async function post<T>(url: string, intended: object, parse: (reply: unknown) => T): Promise<T> {
    for (;;) {
      const body = adapt.apply(intended);
      try {
        return await send('POST', url, body, parse);
      } catch (error) {
        const field = error instanceof EndpointError ? error.refusedField : undefined;
        if (field === undefined || !adapt.leaveOut(field, body)) throw error;
      }
    }
  }

  let name: Promise<string> | undefined;
  const model = () => {
    name ??= options.model === undefined ? servedModel(openai, send) : Promise.resolve(options.model);
    return name;
  };
  return {
    model,
    request: fields,
    chat: async (messages, chat = {}) =>
      post(`${openai}/chat/completions`, chatBody(await model(), messages, chat), (reply) => parseChat(reply, notify)),
    post: (path, body, parse) => post(`${root}${path}`, body, parse),
  };
}

/** Passes each text on once, and at most 20 of them. */
function onceEach(show: (text: string) => void): (text: string) => void {
  const shown = new Set<string>();
  return (text) => {
    if (shown.has(text) || shown.size >= 20) return;
    shown.add(text);
    show(text);
  };
}

/** Whether another request is waiting already; else this one waits for that time. */
function quietFor(): (milliseconds: number) => boolean {
  let until = 0;
  return (milliseconds) => {
    const isQuiet = Date.now() < until;
    if (!isQuiet) until = Date.now() + milliseconds;
    return isQuiet;
  };
}

const modelList = v.object({ data: v.array(v.object({ id: v.string() })) });

async function servedModel(
  openai: string,
  send: (method: 'GET', url: string, body: undefined, parse: (reply: unknown) => string[]) => Promise<string[]>,
): Promise<string> {
  const url = `${openai}/models`;
  const names = await send('GET', url, undefined, (reply) =>
    v.parse(modelList, reply, { abortEarly: true }).data.map(({ id }) => id),
  );
  const [name = ''] = names;
  const isPlain = printable(name, 200) === name && name.trim() !== '';
  if (names.length === 1 && isPlain) return name;
  const shown = names.slice(0, 5).map((one) => printable(one, 60));
  const listed = `${shown.join(', ')}${names.length > 5 ? ', …' : ''}`;
  const found = names.length === 0 ? 'none' : names.length === 1 ? `"${listed}"` : `${names.length} (${listed})`;
  const expected = names.length === 1 ? 'a name of at most 200 printable characters' : 'one model';
  throw new EvaluationError(
    `${printableAddress(url)}: expected ${expected}, found ${found}. Give the name of the model to use.`,
  );
}

interface Attempted {
  readonly attempts: number;
  readonly body: object | undefined;
  readonly hide: (text: string) => string;
}

function endpointError(url: string, error: RequestError, { attempts, body = {}, hide }: Attempted): EndpointError {
  const { status, retryAfter } = error;
  const reply = hide(error.body ?? '');
  const words = serverWords(reply);
  const fields = body as Readonly<Record<string, unknown>>;
  const refused = REFUSALS.includes(status) ? refusedField(reply, fields) : undefined;
  const after = attempts > 1 ? ` after ${attempts} attempts` : '';
  const found = `${printable(hide(error.message), 300)}${after}${words && `: ${printable(words, 300)}`}`;
  const end = /[.!?]$/.test(found) ? '' : '.';
  const hint = isTooLong(retryAfter)
    ? `The server asks to wait ${durationText(retryAfter)}. Run the same command again after that.`
    : hintFor(error, refused ?? namedField(words, fields));
  const message = `${printableAddress(url)}: expected a reply, found ${found}${end} ${hint}`;
  return new EndpointError(message, status, refused, error.isFinal);
}

function hintFor({ status = 0, isRetryable, isFinal }: RequestError, field: string | undefined): string {
  if (isFinal) return 'Another attempt would bring the same.';
  if (status >= 300 && status < 400) return 'No request follows a redirect. Give the address that the server names.';
  if (field !== undefined && !isRetryable) {
    return `Change the field with \`request\`, or leave it out with \`request: {${field}: null}\`.`;
  }
  if (status === 401 || status === 403) return 'Set WPO_API_KEY (or OPENAI_API_KEY) to a key that this server accepts.';
  if (status === 404) return 'Check the address and the model’s name.';
  return isRetryable
    ? 'Check that the server is running, then run the same command again.'
    : 'The server refuses this request.';
}
