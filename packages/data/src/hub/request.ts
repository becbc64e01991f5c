import { describe } from '@wpo/internal/describe';
import { retryAfter, withRetries } from '@wpo/internal/node/retry';
import type { Hub } from './repository';

/** The hub refused a request or could not be reached. The message holds neither the token nor a signed URL. */
export class HubError extends Error {
  override readonly name = 'HubError';
}

/** How often a request is tried before it fails. */
export const ATTEMPTS = 5;

export interface RequestOptions {
  readonly headers?: Readonly<Record<string, string>>;
  /** Read the whole body within the attempt, so that a response that is cut off is requested again. */
  readonly whole?: boolean;
}

/** A failed attempt: the response has an error status, or none arrived. */
class AttemptError extends Error {
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

/**
 * Sends a request to the hub. Repeats it if the hub is busy (408, 429, 5xx) or cannot be reached. The token is sent to the
 * hub's own address only: fetch drops it if a redirect leads to another host.
 *
 * @throws {HubError} if the last response is not a success
 */
export async function request(hub: Hub, url: string, options: RequestOptions = {}): Promise<Response> {
  const isHub = new URL(url).origin === new URL(hub.endpoint).origin;
  const authorization: Record<string, string> = isHub && hub.token ? { authorization: `Bearer ${hub.token}` } : {};
  const attempt = async () => {
    const response = await fetch(url, { headers: { ...options.headers, ...authorization }, signal: hub.signal })
      .then((response) => (options.whole && response.ok ? withBody(response) : response))
      .catch((error: unknown) => {
        throw new AttemptError(reasonOf(error));
      });
    if (response.ok) return response;
    await response.body?.cancel();
    throw new AttemptError(`status ${response.status}`, response);
  };
  try {
    return await withRetries(attempt, {
      retries: ATTEMPTS - 1,
      firstDelay: hub.retryDelay,
      signal: hub.signal,
      isRetryable: (error) => error instanceof AttemptError && error.isRetryable && !hub.signal?.aborted,
      requestedDelay: (error) => {
        const { response } = error as AttemptError;
        return response && retryAfter(response.headers);
      },
    });
  } catch (error) {
    hub.signal?.throwIfAborted();
    throw error instanceof AttemptError ? hubError(hub, error) : error;
  }
}

async function withBody(response: Response): Promise<Response> {
  const { status, headers } = response;
  return new Response(await response.arrayBuffer(), { status, headers });
}

/** Why no response arrived. The message of `fetch` is only "fetch failed"; its cause has the reason. */
export function reasonOf(error: unknown): string {
  const { cause, message } = error as Error & { cause?: NodeJS.ErrnoException };
  return cause?.code ?? cause?.message ?? message;
}

function hubError(hub: Hub, { message, response }: AttemptError): HubError {
  if (response !== undefined)
    return new HubError(`${hub.text}: the hub answered ${response.status}: ${describeStatus(hub, response)}`);
  return new HubError(
    `${hub.text}: ${hub.endpoint} could not be reached (${message}) in ${ATTEMPTS} attempts. ` +
      'Set HF_HUB_OFFLINE=1 to use the cache only.',
  );
}

function describeStatus({ name, endpoint, token }: Hub, { status, headers }: Response): string {
  const kind = name.type === 'dataset' ? 'data set' : 'model';
  const page = `${endpoint}/${name.type === 'dataset' ? 'datasets/' : ''}${name.repo}`;
  const sent = token === undefined ? 'No HF_TOKEN is set.' : 'HF_TOKEN was sent: check that it grants access.';
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
