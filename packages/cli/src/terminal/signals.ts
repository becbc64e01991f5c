import { constants } from 'node:os';
import { setImmediate as yieldToEventLoop } from 'node:timers/promises';
import { stopOnSignals } from '@wpo/trainer/node';
import { isUserError } from '../errors';
import type { Terminal } from './terminal';

/** Watches for SIGINT and SIGTERM. */
export interface StopSignal {
  /** Aborted at the first signal. A second signal ends the process at once. */
  readonly signal: AbortSignal;
  /** The exit status for the signal that arrived, 130 or 143; 0 before any. */
  status(): number;
  dispose(): void;
}

let lastStatus = 0;

/** The exit status for the last signal that was handled, 0 if there was none since the last call. */
export function takeSignalStatus(): number {
  const status = lastStatus;
  lastStatus = 0;
  return status;
}

export function watchSignals({ stderr }: Terminal): StopSignal {
  let status = 0;
  const { signal, dispose } = stopOnSignals({
    onSignal(name) {
      status = 128 + constants.signals[name];
      lastStatus = status;
      stderr.write(`${name}: stopping after the current computation. A second signal stops at once.\n`);
    },
  });
  return { signal, status: () => status, dispose };
}

/**
 * Runs work that stops at SIGINT and SIGTERM: it returns, or throws what `stopIfAsked` throws.
 *
 * @param processes shares a signal that one of several processes gets
 * @returns the exit status of the work; 130 or 143, after a message, if it was stopped by throwing
 */
export async function withSignals(
  terminal: Terminal,
  work: (stop: StopSignal) => Promise<number>,
  processes?: { shareStop(stop: StopSignal, terminal: Terminal): StopSignal },
): Promise<number> {
  const own = watchSignals(terminal);
  const stop = processes?.shareStop(own, terminal) ?? own;
  try {
    return await work(stop);
  } catch (error) {
    const { aborted, reason } = stop.signal;
    if (!aborted || (error !== reason && (error as Error).cause !== reason)) throw error;
    terminal.stderr.write('Stopped. Nothing was written: run the same command again to start over.\n');
    return stop.status();
  } finally {
    stop.dispose();
  }
}

/** Lets signals arrive, which long computations hold up. @throws the signal's reason once one has arrived */
export async function stopIfAsked({ signal }: StopSignal): Promise<void> {
  await yieldToEventLoop();
  signal.throwIfAborted();
}

/** After this many failures in succession, no further request is sent. */
export const MAX_FAILURES_IN_A_ROW = 10;

/** Stops work on many requests after too many failures in succession. */
export interface FailureLimit {
  /** Aborted when no further request may start: after a signal, or after too many failures in succession. */
  readonly signal: { readonly aborted: boolean };
  readonly failures: readonly Error[];
  /** Records the error of a failed request. Throws the error again if it is not about the input. */
  readonly onError: (error: unknown) => void;
  readonly onSuccess: () => void;
}

/** Lets work continue after failures, as long as some requests succeed. */
export function failureLimit(stop: StopSignal): FailureLimit {
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
      if (!(error instanceof Error) || !isUserError(error) || error.name === 'WriteError') throw error;
      if (stop.signal.aborted) return; // the request was stopped
      failures.push(error);
      failuresInARow += 1;
    },
    onSuccess() {
      failuresInARow = 0;
    },
  };
}
