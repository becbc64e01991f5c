export interface SignalStop {
  /** Aborted at the first signal. */
  readonly signal: AbortSignal;
  /** Stops listening. */
  dispose(): void;
}

/**
 * Turns the first SIGINT or SIGTERM into an aborted signal, so that `train` gives its step up, saves and returns. After it, signals
 * have their usual effect again: a second one ends the process at once, even during a native call.
 */
export function stopOnSignals(options: { readonly onSignal?: (name: NodeJS.Signals) => void } = {}): SignalStop {
  const names = ['SIGINT', 'SIGTERM'] as const;
  const controller = new AbortController();
  const dispose = () => {
    for (const name of names) process.off(name, stop);
  };
  const stop = (name: NodeJS.Signals) => {
    dispose();
    options.onSignal?.(name);
    controller.abort(new Error(`stopped by ${name}`));
  };
  for (const name of names) process.on(name, stop);
  return { signal: controller.signal, dispose };
}
