import type { Message } from '@wpo/data';
import { withRetries } from '@wpo/internal/node/retry';
import { Agent } from 'undici';
import * as v from 'valibot';
import { EvaluationError } from '../errors';
import { parseAddress } from './address';
import { attempt, Fault } from './attempt';
import { type Answer, type ChatOptions, chatBody, parseChat } from './chat';

export interface EndpointOptions {
  /** The server's base URL, with `/v1` or without. */
  readonly url: string;
  /** The model to ask; default the one that the server serves, where it serves one. */
  readonly model?: string;
  /** Milliseconds for one try, from the request to the reply's last byte. Default ten minutes. */
  readonly timeout?: number;
  /** Attempts after the first. Default 6. */
  readonly retries?: number;
  /** Once aborted, waiting ends and no attempt starts. A running attempt is not interrupted. */
  readonly signal?: AbortSignal;
}

/** A server that speaks as OpenAI's does: vLLM and the like. */
export interface Endpoint {
  /** The model's name: the one given, or the only one served. */
  model(): Promise<string>;
  /** An answer to a conversation. */
  chat(messages: readonly Message[], options?: ChatOptions): Promise<Answer>;
  /**
   * Any other request, e.g. vLLM's `/pooling`.
   *
   * @param path from the server's root, not from `/v1`
   * @param parse takes the reply's JSON, and throws where it is not whole: then it is asked for again
   */
  post<T>(path: string, body: unknown, parse: (reply: unknown) => T): Promise<T>;
}

/** A request that failed for good. */
export class EndpointError extends EvaluationError {
  override readonly name = 'EndpointError';

  constructor(
    message: string,
    /** The last reply's; absent where none came. */
    readonly status?: number,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/**
 * A client for an OpenAI-compatible server. What fails by the network, by 408, 409, 425, 429 or 5xx, or by a reply that
 * is not whole, is tried again, after the wait that the server's `Retry-After` asks for or ever longer ones. The key is
 * `WPO_API_KEY`, or else `OPENAI_API_KEY`, of the environment; it is in no error. Every method throws an `EndpointError`
 * that names the URL, the status and how the reply's body began.
 *
 * @throws {EvaluationError} where `url` is none
 */
export function createEndpoint(options: EndpointOptions): Endpoint {
  const { timeout = 600_000, retries = 6, signal } = options;
  const { openai, root, credentials } = parseAddress(options.url);
  const key = apiKey();
  const headers = authorization(key, credentials);
  // fetch's own agent gives up after five minutes without a reply, whatever the request's own timeout
  const agent = new Agent({ headersTimeout: 0, bodyTimeout: 0 });

  async function ask<T>(method: 'GET' | 'POST', url: string, body: unknown, parse: (reply: unknown) => T): Promise<T> {
    let tries = 0;
    const once = () => {
      tries += 1;
      return attempt({ method, url, headers, body, timeout, agent }, parse);
    };
    try {
      return await withRetries(once, {
        retries,
        signal,
        isRetryable: (error) => error instanceof Fault && error.again,
        delayAsked: (error) => (error as Fault).after,
      });
    } catch (error) {
      throw error instanceof Fault ? failure(url, error, tries, [key, credentials]) : error;
    }
  }

  let found: Promise<string> | undefined;
  const model = () => {
    found ??= options.model === undefined ? servedModel(openai, ask) : Promise.resolve(options.model);
    return found;
  };
  return {
    model,
    chat: async (messages, chat = {}) =>
      ask('POST', `${openai}/chat/completions`, chatBody(await model(), messages, chat), parseChat),
    post: (path, body, parse) => ask('POST', `${root}${path}`, body, parse),
  };
}

const apiKey = () => (process.env.WPO_API_KEY || process.env.OPENAI_API_KEY)?.trim() || undefined;

function authorization(key: string | undefined, credentials: string | undefined): Record<string, string> {
  if (credentials !== undefined) return { authorization: `Basic ${Buffer.from(credentials).toString('base64')}` };
  if (key === undefined) return {};
  if (/^[\x21-\x7e]+$/.test(key)) return { authorization: `Bearer ${key}` };
  throw new EvaluationError('the API key in the environment has a character that no key has. Set WPO_API_KEY anew.');
}

const modelList = v.object({ data: v.array(v.object({ id: v.string() })) });

async function servedModel(
  openai: string,
  ask: (method: 'GET', url: string, body: undefined, parse: (reply: unknown) => string[]) => Promise<string[]>,
): Promise<string> {
  const url = `${openai}/models`;
  const names = await ask('GET', url, undefined, (reply) => v.parse(modelList, reply).data.map(({ id }) => id));
  if (names.length === 1) return names[0]!;
  throw new EvaluationError(
    `${url}: found ${names.length} models (${names.slice(0, 5).join(', ')}), wanted the name of one.`,
  );
}

const SHOWN = 200;

function failure(url: string, fault: Fault, tries: number, secrets: readonly (string | undefined)[]): EndpointError {
  const hide = (text: string) =>
    secrets.reduce<string>((shown, it) => (it ? shown.replaceAll(it, '***') : shown), text);
  const body = hide(fault.body?.replace(/\s+/g, ' ').trim() ?? '');
  const shown = body.length > SHOWN ? `${body.slice(0, SHOWN)}…` : body;
  const found = `${hide(fault.message)}${tries === 1 ? '' : ` after ${tries} tries`}${shown && `: ${shown}`}`;
  return new EndpointError(`${url}: found ${found}. ${mend(fault)}`, fault.status);
}

function mend({ status, again }: Fault): string {
  if (status === 401 || status === 403) return 'Set WPO_API_KEY (or OPENAI_API_KEY) to a key that this server takes.';
  if (status === 404) return 'Check the address and the model’s name.';
  return again
    ? 'See whether the server is well, then run the same command again.'
    : 'The server refuses this request.';
}
