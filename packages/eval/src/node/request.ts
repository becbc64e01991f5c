import { BodyTooLargeError, readBody } from '@wpo/internal/node/body';
import { retryAfter } from '@wpo/internal/node/retry';
import type { Agent, Response } from 'undici';
import { errorIn } from './server-words';

export interface Request {
  readonly method: 'GET' | 'POST';
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Sent as JSON. */
  readonly body?: unknown;
  /** Milliseconds until the reply's last byte must have arrived. */
  readonly timeout: number;
  readonly agent: () => Promise<Agent>;
  /** Takes keys and passwords that the server repeats out of its reply. */
  readonly redact: (text: string) => string;
  /** Receives a function that ends the attempt; it is removed when the attempt has ended. */
  readonly running: Set<() => void>;
}

interface FailureDetails {
  readonly isRetryable: boolean;
  /** Of the reply; absent if none arrived. */
  readonly status?: number;
  /** Of the reply, as text. */
  readonly body?: string;
  /** Milliseconds that the server asked to wait before the next attempt. */
  readonly retryAfter?: number | undefined;
  /** The server replied, but gave no answer, and would give none to another attempt. */
  readonly isFinal?: boolean;
}

/** A request without a usable reply. */
export class RequestError extends Error implements FailureDetails {
  override readonly name = 'RequestError';
  readonly isRetryable!: boolean;
  readonly status?: number;
  readonly body?: string;
  readonly retryAfter?: number;
  readonly isFinal?: boolean;

  constructor(message: string, details: FailureDetails) {
    super(message);
    Object.assign(this, details);
  }
}

/** Thrown by a parser of replies: another attempt would bring the same. */
export class FinalReplyError extends Error {
  override readonly name = 'FinalReplyError';
}

/** A chat reply of 8,000 tokens with 20 log-probs each has about 10 MB. */
const MAX_REPLY_BYTES = 16 << 20;
/** Of an error, of which only the beginning is shown. */
const MAX_ERROR_BYTES = 64 << 10;

const RETRYABLE = [408, 409, 425, 429];
const isRetryableStatus = (status: number) => RETRYABLE.includes(status) || status >= 500;

/**
 * Sends a request once and reads the whole reply. A redirect is not followed, so no other host gets the API key.
 *
 * @param parse gets the reply's JSON; throws if the reply is incomplete
 * @throws {RequestError} without a connection or a complete reply in time, for a status other than 2xx, and for a reply
 *   that is too large, is not JSON, is an error, or that `parse` refuses
 */
export async function sendOnce<T>(request: Request, parse: (reply: unknown) => T): Promise<T> {
  const { status, headers, text } = await receive(request);
  if (status < 200 || status > 299) {
    const location = status < 400 ? headers.get('location') : null;
    throw new RequestError(`status ${status}${location === null ? '' : `, a redirect to ${location}`}`, {
      isRetryable: isRetryableStatus(status),
      status,
      body: text,
      retryAfter: retryAfter(headers),
    });
  }
  const details = { isRetryable: true, status, body: text };
  let reply: unknown;
  try {
    reply = JSON.parse(text);
  } catch {
    throw new RequestError(`status ${status} with text that is not JSON`, details);
  }
  const error = errorIn(reply);
  if (error !== undefined) {
    const { code = status } = error;
    const isRetryable = code === status || isRetryableStatus(code);
    throw new RequestError(`status ${status} with an error`, { ...details, isRetryable, status: code });
  }
  try {
    return parse(reply);
  } catch (error) {
    const { message } = error as Error;
    if (error instanceof FinalReplyError)
      throw new RequestError(message, { isRetryable: false, isFinal: true, status });
    throw new RequestError(`status ${status} with an incomplete reply (${message})`, details);
  }
}

/** undici is CommonJS: its names are on `default`, and in the chunks of some bundlers only there. */
const loadUndici = async () => (await import('undici')).default;

/**
 * The connections of one client. undici is imported with the first request: it compiles WebAssembly, which reserves 10 GB of
 * address space and so fails under a smaller `ulimit -v`.
 */
export function lazyAgent(): () => Promise<Agent> {
  let agent: Promise<Agent> | undefined;
  return () => {
    // fetch's default agent gives up after five minutes without a reply, whatever the request's own timeout
    agent ??= loadUndici().then(({ Agent }) => new Agent({ headersTimeout: 0, bodyTimeout: 0 }));
    return agent;
  };
}

async function receive({ method, url, headers, body, timeout, agent, redact, running }: Request) {
  const controller = new AbortController();
  const stop = () => controller.abort(new Error('stopped'));
  running.add(stop);
  let isLate = false;
  const timer = setTimeout(() => {
    isLate = true;
    controller.abort();
  }, timeout);
  try {
    const { fetch } = await loadUndici();
    const response = await fetch(url, {
      method,
      headers: { ...headers, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      redirect: 'manual', // following a redirect would turn a POST into a GET, and carry the key to another host
      signal: controller.signal,
      dispatcher: await agent(),
    });
    const bytes = await bodyOf(response);
    return { status: response.status, headers: response.headers, text: redact(bytes.toString('utf8')) };
  } catch (error) {
    if (isLate) throw new RequestError(`no complete reply within ${timeout / 1000} s`, { isRetryable: true });
    const isFinal = controller.signal.aborted || error instanceof BodyTooLargeError;
    throw new RequestError(reasonOf(error as Error), { isRetryable: !isFinal });
  } finally {
    clearTimeout(timer);
    running.delete(stop);
  }
}

/** Reads a reply. Of an error only the beginning is needed, so it may be of any size. */
async function bodyOf({ ok, body }: Response): Promise<Buffer> {
  if (ok) return readBody(body, MAX_REPLY_BYTES);
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of (body ?? []) as AsyncIterable<Uint8Array>) {
    parts.push(part);
    size += part.length;
    if (size > MAX_ERROR_BYTES) break;
  }
  return Buffer.concat(parts).subarray(0, MAX_ERROR_BYTES);
}

/** The message of fetch's own error is "fetch failed"; the reason is in its cause. */
function reasonOf(error: Error): string {
  if (error instanceof BodyTooLargeError)
    return `a reply of more than ${MAX_REPLY_BYTES >> 20} MB, which was not read on`;
  const cause = error.cause as NodeJS.ErrnoException | undefined;
  return `no complete reply (${cause?.code ?? cause?.message ?? error.message})`;
}
