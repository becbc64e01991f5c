/** What runs of many tasks have in common. */
export interface ConcurrencyOptions<T> {
  /** Tasks under way at once. Default 1. */
  readonly concurrency?: number;
  /** Once aborted no task begins; those under way are finished and their results given. */
  readonly signal?: { readonly aborted: boolean };
  /** Told of a task that failed, which is left out. Without it the first failure ends the run, as an abort would. */
  readonly onError?: (error: unknown, task: T) => void;
}

/**
 * Runs tasks side by side, and gives each result as soon as it is there, whatever the order.
 *
 * @throws what the first failed task threw, after the others' results, where no `onError` is given
 */
export async function* concurrently<T, R>(
  tasks: Iterable<T> | AsyncIterable<T>,
  run: (task: T) => AsyncIterable<R>,
  { concurrency = 1, signal, onError }: ConcurrencyOptions<T> = {},
): AsyncGenerator<R, void, undefined> {
  const waiting = iterate(tasks);
  const results: R[] = [];
  const failures: unknown[] = [];
  let [ended, finished] = [false, false];
  let wake = () => {};

  async function work() {
    while (!ended && !signal?.aborted) {
      const { done, value: task } = await waiting.next();
      if (done) return;
      try {
        for await (const result of run(task)) {
          results.push(result);
          wake();
        }
      } catch (error) {
        if (onError === undefined) throw error;
        onError(error, task);
      }
    }
  }
  const workers = Array.from({ length: concurrency }, () =>
    work().catch((error) => {
      ended = true;
      failures.push(error);
    }),
  );
  const all = Promise.all(workers).then(() => {
    finished = true;
    wake();
  });

  try {
    for (;;) {
      while (results.length > 0) yield results.shift()!;
      if (finished) break;
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    if (failures.length > 0) throw failures[0];
  } finally {
    ended = true;
    await all;
    await waiting.return(undefined);
  }
}

async function* iterate<T>(tasks: Iterable<T> | AsyncIterable<T>): AsyncGenerator<T, void, undefined> {
  yield* tasks;
}
