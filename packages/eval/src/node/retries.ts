import { setTimeout as sleep } from 'node:timers/promises';
import { Fault } from './attempt';

export interface RetryOptions {
  /** Tries after the first. */
  readonly retries: number;
  /** Once aborted, waits end and no try begins; one that is under way goes on to its end. */
  readonly signal?: AbortSignal;
}

const FIRST_WAIT = 500;
const LONGEST_WAIT = 30_000;

/**
 * Tries until it succeeds, waiting longer each time, or as long as the server asked.
 *
 * @throws {Fault} of the last try
 */
export async function withRetries<T>(run: () => Promise<T>, { retries, signal }: RetryOptions): Promise<T> {
  for (let retry = 0; ; retry++) {
    try {
      return await run();
    } catch (error) {
      if (!(error instanceof Fault) || !error.again || retry === retries) throw error;
      await sleep(waitBefore(retry, error), undefined, { signal }).catch(() => {});
      if (signal?.aborted) throw error;
    }
  }
}

/** Milliseconds: as the server asked; else doubled each time, and up to half shorter, so that clients do not come in step. */
export const waitBefore = (retry: number, { after }: Fault): number =>
  after ?? Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** retry) * (1 - Math.random() / 2);
