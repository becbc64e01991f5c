import { isUserError } from './errors';
import type { Stop } from './stop';

/** After this many failures in a row the server is taken to be gone. */
const MAX_FAILURES_IN_A_ROW = 10;

/** Stops work on many requests after too many failures in a row. */
export interface FailureLimit {
  /** Aborted if nothing further is to start: after a signal, or after too many failures in a row. */
  readonly signal: { readonly aborted: boolean };
  readonly failures: readonly Error[];
  /** Records a failed request. Throws an error that is not about the input. */
  readonly onError: (error: unknown) => void;
  readonly onSuccess: () => void;
}

/** Lets work continue after failures, as long as some requests succeed. */
export function failureLimit(stop: Stop): FailureLimit {
  const failures: Error[] = [];
  let failuresInARow = 0;
  return {
    signal: {
      get aborted() {
        return stop.signal.aborted || failuresInARow >= MAX_FAILURES_IN_A_ROW;
      },
    },
    failures,
    onError(error) {
      if (!(error instanceof Error) || !isUserError(error)) throw error;
      failures.push(error);
      failuresInARow += 1;
    },
    onSuccess() {
      failuresInARow = 0;
    },
  };
}
