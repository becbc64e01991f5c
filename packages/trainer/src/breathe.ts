/**
 * Lets the host run what waits: signals in Node, events in a browser. tfjs's native backends resolve their promises
 * without ever leaving the microtask queue, so a loop over them alone would starve both.
 */
export const breathe = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 0));
