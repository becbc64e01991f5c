import { StepStopped } from './errors';

/** Asks a loop to stop: an `AbortSignal`, or any object with `aborted`. */
export interface StopSignal {
  readonly aborted: boolean;
}

/** Awaited between the parts of a long computation. It may throw, which gives the computation up. */
export type Pause = () => Promise<void>;

/** Milliseconds between the moments at which a long computation lets other work run. */
const PAUSE_EVERY = 500;

/** Returns a pause that lets the host run pending work twice a second and then calls `check`, whose errors it passes on. */
export function pauseAndCheck(check: () => void): Pause {
  let last = performance.now();
  return async () => {
    if (performance.now() - last < PAUSE_EVERY) return;
    await yieldToEventLoop();
    last = performance.now();
    check();
  };
}

/** A pause that gives a step, an evaluation or a reference pass of `train` up once the signal is aborted. */
export const stopPause = (signal: StopSignal | undefined): Pause =>
  pauseAndCheck(() => {
    if (signal?.aborted) throw new StepStopped();
  });

/**
 * Lets the host run pending work: signals in Node, events in a browser. tfjs's native backends resolve their promises without
 * leaving the microtask queue, so a loop that awaits only them would block both.
 */
export const yieldToEventLoop = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 0));
