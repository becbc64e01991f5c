import { isUserError } from './errors';
import type { Stop } from './stop';

/** So many failures with no success between them are taken for the end: the server is gone. */
const GIVE_UP = 10;

/** What work on many requests heeds, and what failed of them. */
export interface Patience {
  /** Aborted where nothing further is to be begun: by a signal, or after too many failures in a row. */
  readonly signal: { readonly aborted: boolean };
  readonly failures: readonly Error[];
  /** Takes note of a request that failed. An error that is not about the input is thrown on. */
  readonly onError: (error: unknown) => void;
  readonly onSuccess: () => void;
}

/** Goes on after failures, as long as some requests succeed. */
export function patience(stop: Stop): Patience {
  const failures: Error[] = [];
  let inARow = 0;
  return {
    signal: {
      get aborted() {
        return stop.signal.aborted || inARow >= GIVE_UP;
      },
    },
    failures,
    onError(error) {
      if (!(error instanceof Error) || !isUserError(error)) throw error;
      failures.push(error);
      inARow += 1;
    },
    onSuccess() {
      inARow = 0;
    },
  };
}
