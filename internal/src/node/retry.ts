import { setTimeout as sleep } from 'node:timers/promises';

export interface BackoffOptions {
  /** Milliseconds before the first retry, doubled for each further one. Default 500. */
  readonly firstDelay?: number;
  /** Once aborted, waiting ends and no attempt starts. A running attempt is not interrupted. */
  readonly signal?: AbortSignal;
  /** Called before a wait of more than 5 seconds, to tell the user why nothing happens. */
  readonly onWait?: (milliseconds: number) => void;
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
/** Shorter waits are not reported. */
const REPORTED_DELAY = 5000;

/**
 * Runs an action until it succeeds, with a wait before each retry: as long as the server asked, else exponential backoff.
 * There is no retry if the server asks to wait longer than five minutes; see `isTooLong`.
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
      const requested = requestedDelay(error);
      if (isTooLong(requested)) throw error;
      await waitBeforeRetry(retry, requested, backoff);
      if (backoff.signal?.aborted) throw error;
    }
  }
}

/** Waits as long as `retryDelay` says. Returns at once if the signal is aborted. */
export async function waitBeforeRetry(
  retry: number,
  requested: number | undefined,
  { firstDelay, signal, onWait }: BackoffOptions,
): Promise<void> {
  const delay = retryDelay(retry, requested, firstDelay);
  if (delay > REPORTED_DELAY && !signal?.aborted) onWait?.(delay);
  await sleep(delay, undefined, { signal }).catch(() => {});
}

/** Whether a server asks for a wait that is too long to sit out. The command then fails and names the wait. */
export const isTooLong = (requested: number | undefined): requested is number =>
  requested !== undefined && requested > MAX_REQUESTED_DELAY;

/** A duration for a message: `45 s`, `12 min`, `24 h`. Above 1000 days it is `more than 1000 days`. */
export function durationText(milliseconds: number): string {
  const seconds = Math.ceil(milliseconds / 1000);
  if (seconds > 86_400_000) return 'more than 1000 days';
  if (seconds < 120) return `${seconds} s`;
  return seconds < 7200 ? `${Math.ceil(seconds / 60)} min` : `${Math.ceil(seconds / 3600)} h`;
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
