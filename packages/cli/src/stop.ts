import { constants } from 'node:os';
import { stopOnSignals } from '@wpo/trainer/node';
import type { Terminal } from './terminal';

/** A run's ear for SIGINT and SIGTERM. */
export interface Stop {
  /** Aborted at the first of them; a second one ends the process at once. */
  readonly signal: AbortSignal;
  /** The exit status that says which it was: 130 or 143; 0 before any. */
  status(): number;
  dispose(): void;
}

export function listenForStop({ stderr }: Terminal): Stop {
  let status = 0;
  const { signal, dispose } = stopOnSignals({
    onSignal(name) {
      status = 128 + constants.signals[name];
      stderr.write(`\n${name}: finishing what is being computed, then saving. Once more ends at once.\n`);
    },
  });
  return { signal, status: () => status, dispose };
}

/** Runs some work that heeds SIGINT and SIGTERM, and stops listening at its end. */
export async function withStop<T>(terminal: Terminal, work: (stop: Stop) => Promise<T>): Promise<T> {
  const stop = listenForStop(terminal);
  try {
    return await work(stop);
  } finally {
    stop.dispose();
  }
}
