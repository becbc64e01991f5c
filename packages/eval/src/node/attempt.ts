import { retryAfter } from '@wpo/internal/node/retry';
import { type Agent, fetch, type Response } from 'undici';

export interface Request {
  readonly method: 'GET' | 'POST';
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Sent as JSON. */
  readonly body?: unknown;
  /** Milliseconds until the last byte of the reply. */
  readonly timeout: number;
  readonly agent: Agent;
}

interface FaultFacts {
  /** Whether another try may help. */
  readonly again: boolean;
  readonly status?: number;
  readonly body?: string;
  /** Milliseconds that the server asked to wait. */
  readonly after?: number;
}

/** An attempt that brought no usable reply. */
export class Fault extends Error implements FaultFacts {
  override readonly name = 'Fault';
  readonly again!: boolean;
  readonly status?: number;
  readonly body?: string;
  readonly after?: number;

  constructor(message: string, facts: FaultFacts) {
    super(message);
    Object.assign(this, facts);
  }
}

/**
 * Asks once, and reads the reply to its end.
 *
 * @param parse takes the reply's JSON; it throws where the reply is not whole
 * @throws {Fault} on whatever is no whole reply: no connection, a broken one, too slow, a wrong status, not JSON
 */
export async function attempt<T>(request: Request, parse: (reply: unknown) => T): Promise<T> {
  const { status, headers, text } = await exchange(request);
  if (status < 200 || status > 299) {
    throw new Fault(`status ${status}`, {
      again: worthRetrying(status),
      status,
      after: retryAfter(headers),
      body: text,
    });
  }
  let reply: unknown;
  try {
    reply = JSON.parse(text);
  } catch {
    throw new Fault(`status ${status} with text that is not JSON`, { again: true, status, body: text });
  }
  try {
    return parse(reply);
  } catch (error) {
    const { message } = error as Error;
    throw new Fault(`status ${status} with a reply that is not whole (${message})`, {
      again: true,
      status,
      body: text,
    });
  }
}

async function exchange({ method, url, headers, body, timeout, agent }: Request) {
  try {
    const response: Response = await fetch(url, {
      method,
      headers: { ...headers, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      redirect: 'manual', // a redirected POST would arrive as a GET
      signal: AbortSignal.timeout(timeout),
      dispatcher: agent,
    });
    return { status: response.status, headers: response.headers, text: await response.text() };
  } catch (error) {
    throw new Fault(reason(error as Error, timeout), { again: true });
  }
}

/** What fetch says is "fetch failed"; its cause says why. */
function reason(error: Error, timeout: number): string {
  if (error.name === 'TimeoutError') return `no whole reply within ${timeout / 1000} s`;
  const cause = error.cause as NodeJS.ErrnoException | undefined;
  return `no whole reply (${cause?.code ?? cause?.message ?? error.message})`;
}

const worthRetrying = (status: number) => [408, 409, 425, 429].includes(status) || status >= 500;
