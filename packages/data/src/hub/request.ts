import { describe } from '@wpo/internal/describe';
import { BodyTooLargeError, readBody } from '@wpo/internal/node/body';
import { redact } from '@wpo/internal/node/redact';
import { durationText, isTooLong, retryAfter, withRetries } from '@wpo/internal/node/retry';
import { printable } from '@wpo/internal/printable';
import type { Hub } from './repository';

/** The hub refused a request or could not be reached. The message holds neither the token nor a signed URL. */
export class HubError extends Error {
  override readonly name = 'HubError';
}

/** How often a request is sent before it fails. */
export const ATTEMPTS = 5;

export interface RequestOptions {
  readonly headers?: Readonly<Record<string, string>>;
  /** Read the whole body within the attempt, so that a response that is cut off is requested again. */
  readonly whole?: boolean;
}

/** A failed attempt: the response has an error status, or none arrived. */
export class AttemptError extends Error {
  constructor(
    message: string,
    readonly response?: Response,
  ) {
    super(message);
  }

  get isRetryable(): boolean {
    const status = this.response?.status;
    return status === undefined || status === 408 || status === 429 || status >= 500;
  }
}

/** Milliseconds; see `HubOptions.timeout`. */
export const TIMEOUT = 60_000;

/** The largest reply that is read into memory. A page of a list of files has 1000 entries, about 300 kB. */
const MAX_REPLY = 32 * 2 ** 20;

/**
 * Sends a request to the hub. Repeats it if the hub is busy (408, 429, 5xx), does not reply in time or cannot be reached.
 * The token is sent to the hub's own address only: fetch drops it if a redirect leads to another host.
 *
 * @throws {HubError} if the last response is not a success, or its body is larger than 32 MiB and `whole` is set
 */
export async function request(hub: Hub, url: string, options: RequestOptions = {}): Promise<Response> {
  try {
    return await withAttempts(hub, () => attempt(hub, url, options));
  } catch (error) {
    hub.signal?.throwIfAborted();
    throw error instanceof AttemptError ? attemptError(hub, error) : error;
  }
}

/** Repeats an action while it throws an `AttemptError` that is retryable. @throws the last attempt's error */
export const withAttempts = <T>(hub: Hub, action: () => Promise<T>): Promise<T> =>
  withRetries(action, {
    retries: ATTEMPTS - 1,
    firstDelay: hub.retryDelay,
    signal: hub.signal,
    onWait: hub.onWait,
    isRetryable: (error) => error instanceof AttemptError && error.isRetryable && !hub.signal?.aborted,
    requestedDelay: (error) => {
      const { response } = error as AttemptError;
      return response && retryAfter(response.headers);
    },
  });

async function attempt(hub: Hub, url: string, { headers, whole }: RequestOptions): Promise<Response> {
  const isHub = new URL(url).origin === new URL(hub.endpoint).origin;
  const authorization: Record<string, string> = isHub && hub.token ? { authorization: `Bearer ${hub.token}` } : {};
  const { timeout = TIMEOUT } = hub;
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(new Error(`no reply within ${durationText(timeout)}`)), timeout);
  const ignoreAbort = onAbort(hub.signal, (reason) => stop.abort(reason));
  try {
    const response = await fetch(url, { headers: { ...headers, ...authorization }, signal: stop.signal });
    if (response.ok) return whole ? await withBody(response) : response;
    await response.body?.cancel();
    throw new AttemptError(`status ${response.status}`, response);
  } catch (error) {
    if (error instanceof BodyTooLargeError)
      throw hubError(hub, `${hub.endpoint} sent ${error.message}. Check HF_ENDPOINT.`);
    throw error instanceof AttemptError ? error : new AttemptError(reasonOf(error));
  } finally {
    clearTimeout(timer);
    ignoreAbort();
  }
}

/**
 * Calls a function once a signal is aborted, or at once if it is. Returns a function that ends this. `AbortSignal.any` is no
 * replacement: in Node 20 its signal can be collected as garbage before it is aborted.
 */
export function onAbort(signal: AbortSignal | undefined, stop: (reason: unknown) => void): () => void {
  const listener = () => stop(signal?.reason);
  if (signal?.aborted) listener();
  else signal?.addEventListener('abort', listener, { once: true });
  return () => signal?.removeEventListener('abort', listener);
}

async function withBody(response: Response): Promise<Response> {
  const { status, headers } = response;
  return new Response(new Uint8Array(await readBody(response.body, MAX_REPLY)), { status, headers });
}

/** Why no response arrived. The message of `fetch` is only "fetch failed"; its cause has the reason. */
export function reasonOf(error: unknown): string {
  const { cause, message } = error as Error & { cause?: NodeJS.ErrnoException };
  return cause?.code ?? cause?.message ?? message;
}

/** An error that names the repository. Text from the server is made printable, and the token is removed from it. */
export const hubError = ({ text, token }: Hub, message: string): HubError =>
  new HubError(`${printable(text, 300)}: ${printable(redact(message, [token]), 1000)}`);

function attemptError(hub: Hub, { message, response }: AttemptError): HubError {
  if (response === undefined) {
    return hubError(
      hub,
      `${hub.endpoint} could not be reached (${message}) in ${ATTEMPTS} attempts. Set HF_HUB_OFFLINE=1 to use the cache only.`,
    );
  }
  const wait = retryAfter(response.headers);
  if (isTooLong(wait)) {
    return hubError(
      hub,
      `the hub answered ${response.status} and asks to wait ${durationText(wait)}. Try again then, or set HF_TOKEN.`,
    );
  }
  return hubError(hub, `the hub answered ${response.status}: ${describeStatus(hub, response)}`);
}

function describeStatus({ name, endpoint, token }: Hub, { status, headers }: Response): string {
  const kind = name.type === 'dataset' ? 'data set' : 'model';
  const page = `${endpoint}/${name.type === 'dataset' ? 'datasets/' : ''}${name.repo}`;
  const sent =
    token === undefined
      ? `No HF_TOKEN is set: make a token at ${endpoint}/settings/tokens and set it.`
      : 'HF_TOKEN was sent: check that it grants access.';
  const code = headers.get('x-error-code');
  if (code === 'RevisionNotFound') return `the ${kind} has no revision ${describe(name.revision)}.`;
  if (code === 'EntryNotFound') return 'the file does not exist.';
  if (code === 'GatedRepo' || status === 403) return `access must be granted: accept the terms at ${page}. ${sent}`;
  if (status === 401 || status === 404) {
    return `there is no such ${kind}, or it is private, and there is no local path of that name. ${sent}`;
  }
  if (status === 429) return `too many requests, after ${ATTEMPTS} attempts. Try again later, or set HF_TOKEN.`;
  return status >= 500 ? `an internal error, after ${ATTEMPTS} attempts. Try again later.` : 'the request was refused.';
}
