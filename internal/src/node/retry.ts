import { setTimeout as sleep } from 'node:timers/promises';

export interface BackoffOptions {
  /** Milliseconds before the first retry, doubled for each further one. Default 500. */
  readonly firstDelay?: number;
  /** Once aborted, waiting ends and no attempt starts. A running attempt is not interrupted. */
  readonly signal?: AbortSignal;
}

export interface RetryOptions extends BackoffOptions {
  /** Attempts after the first. */
  readonly retries: number;
  readonly isRetryable: (error: unknown) => boolean;
  /** Milliseconds that the server asked to wait after this error; see `retryAfter`. */
  readonly requestedDelay?: (error: unknown) => number | undefined;
}

const MAX_BACKOFF = 30_000;
/** The longest wait that a server may ask for: the Hugging Face Hub limits rates over windows of five minutes. */
const MAX_REQUESTED_DELAY = 300_000;

/**
 * Runs an action until it succeeds, with a wait before each retry: as long as the server asked, else exponential backoff.
 *
 * @throws the last attempt's error, also if `signal` was aborted during a wait
 */
export async function withRetries<T>(
  action: () => Promise<T>,
  { retries, isRetryable, requestedDelay = () => undefined, ...backoff }: RetryOptions,
): Promise<T> {
  for (let retry = 0; ; retry++) {
    try {
      return await action();
    } catch (error) {
      if (!isRetryable(error) || retry >= retries) throw error;
      await waitBeforeRetry(retry, requestedDelay(error), backoff);
      if (backoff.signal?.aborted) throw error;
    }
  }
}

/** Waits as long as `retryDelay` says. Returns at once if the signal is aborted. */
export async function waitBeforeRetry(
  retry: number,
  requested: number | undefined,
  { firstDelay, signal }: BackoffOptions,
): Promise<void> {
  await sleep(retryDelay(retry, requested, firstDelay), undefined, { signal }).catch(() => {});
}

/**
 * Milliseconds to wait before a retry: as long as the server requested, else a delay that doubles with each retry up to
 * 30 s. Up to half of that delay is subtracted at random, so that clients that failed together do not retry together.
 *
 * @param retry 0 for the first
 * @param requested milliseconds that the server asked for; at most 5 minutes count
 */
export const retryDelay = (retry: number, requested?: number, firstDelay = 500): number =>
  requested === undefined
    ? Math.min(MAX_BACKOFF, firstDelay * 2 ** retry) * (1 - Math.random() / 2)
    : Math.min(MAX_REQUESTED_DELAY, requested);

/**
 * Milliseconds that a response asks to wait: `retry-after-ms`, else `Retry-After` as seconds or as an HTTP date
 * (RFC 9110, section 10.2.3). Undefined if the response has neither, or one that cannot be parsed.
 */
export function retryAfter(headers: { get(name: string): string | null }): number | undefined {
  const exact = headers.get('retry-after-ms');
  if (exact !== null && Number(exact) >= 0) return Number(exact);
  const text = headers.get('retry-after');
  if (text === null) return undefined;
  const wait = /^\d+(\.\d+)?$/.test(text) ? Number(text) * 1000 : Date.parse(text) - Date.now();
  return Number.isNaN(wait) ? undefined : Math.max(0, wait);
}
