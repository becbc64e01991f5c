import { retryAfter } from '@wpo/internal/node/retry';
import { type Agent, fetch, type Response } from 'undici';

export interface Request {
  readonly method: 'GET' | 'POST';
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Sent as JSON. */
  readonly body?: unknown;
  /** Milliseconds until the reply's last byte must have arrived. */
  readonly timeout: number;
  readonly agent: Agent;
}

interface FailureDetails {
  readonly isRetryable: boolean;
  /** Of the reply; absent if none arrived. */
  readonly status?: number;
  /** Of the reply, as text. */
  readonly body?: string;
  /** Milliseconds that the server asked to wait before the next attempt. */
  readonly retryAfter?: number;
}

/** A request without a usable reply. */
export class RequestError extends Error implements FailureDetails {
  override readonly name = 'RequestError';
  readonly isRetryable!: boolean;
  readonly status?: number;
  readonly body?: string;
  readonly retryAfter?: number;

  constructor(message: string, details: FailureDetails) {
    super(message);
    Object.assign(this, details);
  }
}

/**
 * Sends a request once and reads the whole reply.
 *
 * @param parse gets the reply's JSON; throws if the reply is incomplete
 * @throws {RequestError} without a connection or a complete reply in time, for a status other than 2xx, and for a reply
 *   that is not JSON or that `parse` refuses
 */
export async function sendOnce<T>(request: Request, parse: (reply: unknown) => T): Promise<T> {
  const { status, headers, text } = await receive(request);
  if (status < 200 || status > 299) {
    const isRetryable = [408, 409, 425, 429].includes(status) || status >= 500;
    throw new RequestError(`status ${status}`, { isRetryable, status, body: text, retryAfter: retryAfter(headers) });
  }
  const details = { isRetryable: true, status, body: text };
  let reply: unknown;
  try {
    reply = JSON.parse(text);
  } catch {
    throw new RequestError(`status ${status} with text that is not JSON`, details);
  }
  try {
    return parse(reply);
  } catch (error) {
    throw new RequestError(`status ${status} with an incomplete reply (${(error as Error).message})`, details);
  }
}

async function receive({ method, url, headers, body, timeout, agent }: Request) {
  try {
    const response: Response = await fetch(url, {
      method,
      headers: { ...headers, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      redirect: 'manual', // following a redirect would turn a POST into a GET
      signal: AbortSignal.timeout(timeout),
      dispatcher: agent,
    });
    return { status: response.status, headers: response.headers, text: await response.text() };
  } catch (error) {
    throw new RequestError(reasonOf(error as Error, timeout), { isRetryable: true });
  }
}

/** The message of fetch's own error is "fetch failed"; the reason is in its cause. */
function reasonOf(error: Error, timeout: number): string {
  if (error.name === 'TimeoutError') return `no complete reply within ${timeout / 1000} s`;
  const cause = error.cause as NodeJS.ErrnoException | undefined;
  return `no complete reply (${cause?.code ?? cause?.message ?? error.message})`;
}
