/** Asks a loop to stop: an `AbortSignal`, or any object with `aborted`. */
export interface StopSignal {
  readonly aborted: boolean;
}

/**
 * Lets the host run pending work: signals in Node, events in a browser. tfjs's native backends resolve their promises without
 * leaving the microtask queue, so a loop that awaits only them would block both.
 */
export const yieldToEventLoop = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 0));
