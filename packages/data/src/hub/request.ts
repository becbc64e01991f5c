import { setTimeout as sleep } from 'node:timers/promises';
import type { Hub } from './settings';

/** What the hub answered, or that it could not be asked. Its message holds neither token nor signed address. */
export class HubError extends Error {
  override readonly name = 'HubError';
}

/** How often a request is made before its failure is told. */
export const ATTEMPTS = 5;

const LONGEST_WAIT = 300_000; // the hub's rate limits are over windows of five minutes

export interface RequestOptions {
  readonly headers?: Readonly<Record<string, string>>;
  /** Receive the whole answer before it counts as one: an answer that is cut off is asked for again. */
  readonly whole?: boolean;
}

/**
 * Asks the hub, again where it is busy (408, 429, 5xx) or cannot be reached. The token goes to the hub's own address
 * alone: fetch drops it where a redirect leads to another host.
 *
 * @throws {HubError} on any answer but success
 */
export async function request(hub: Hub, url: string, options: RequestOptions = {}): Promise<Response> {
  const own = new URL(url).origin === new URL(hub.endpoint).origin;
  const authorization: Record<string, string> = own && hub.token ? { authorization: `Bearer ${hub.token}` } : {};
  for (let attempt = 1; ; attempt++) {
    const answer = await fetch(url, { headers: { ...options.headers, ...authorization }, signal: hub.signal })
      .then((answer) => (options.whole && answer.ok ? received(answer) : answer))
      .catch((error: unknown) => why(error));
    hub.signal?.throwIfAborted();
    if (typeof answer !== 'string' && answer.ok) return answer;
    const again = typeof answer === 'string' || answer.status === 408 || answer.status === 429 || answer.status >= 500;
    if (!again || attempt === ATTEMPTS) throw await failure(hub, answer);
    if (typeof answer !== 'string') await answer.body?.cancel();
    await wait(hub, attempt, typeof answer === 'string' ? null : answer.headers.get('retry-after'));
  }
}

async function received(answer: Response): Promise<Response> {
  const { status, headers } = answer;
  return new Response(await answer.arrayBuffer(), { status, headers });
}

/** Waits before a further attempt: as long as the hub asked for, else twice as long each time. */
export async function wait({ retryDelay = 500, signal }: Hub, attempt: number, retryAfter: string | null = null) {
  const asked = retryAfter === null ? Number.NaN : Number(retryAfter) * 1000;
  const time = Number.isFinite(asked) ? asked : retryDelay * 2 ** (attempt - 1);
  await sleep(Math.min(Math.max(time, 0), LONGEST_WAIT), undefined, { signal });
}

/** Why no answer came. */
export function why(error: unknown): string {
  const { cause, message } = error as Error & { cause?: NodeJS.ErrnoException };
  return cause?.code ?? cause?.message ?? message;
}

async function failure(hub: Hub, answer: Response | string): Promise<HubError> {
  if (typeof answer === 'string') {
    return new HubError(
      `${hub.text}: ${hub.endpoint} could not be reached (${answer}) in ${ATTEMPTS} attempts. ` +
        'HF_HUB_OFFLINE=1 takes what the cache holds.',
    );
  }
  await answer.body?.cancel();
  return new HubError(`${hub.text}: the hub answered ${answer.status}: ${meaning(hub, answer)}`);
}

function meaning({ name, endpoint, token }: Hub, { status, headers }: Response): string {
  const kind = name.type === 'dataset' ? 'data set' : 'model';
  const page = `${endpoint}/${name.type === 'dataset' ? 'datasets/' : ''}${name.repo}`;
  const sent = token === undefined ? 'No HF_TOKEN is set.' : 'HF_TOKEN was sent: check that it may read it.';
  const code = headers.get('x-error-code');
  if (code === 'RevisionNotFound') return `the ${kind} has no revision ${JSON.stringify(name.revision)}.`;
  if (code === 'EntryNotFound') return 'the file is not there.';
  if (code === 'GatedRepo' || status === 403) return `access has to be granted: accept the terms at ${page}. ${sent}`;
  if (status === 401 || status === 404) {
    return `there is no such ${kind}, or it is private; nor is there a local path of that name. ${sent}`;
  }
  if (status === 429) return `too many requests, after ${ATTEMPTS} attempts. Try again later, or set HF_TOKEN.`;
  return status >= 500
    ? `a fault of its own, after ${ATTEMPTS} attempts. Try again later.`
    : 'the request was refused.';
}
