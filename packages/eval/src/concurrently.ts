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
 * Runs tasks side by side, and gives each result as soon as it is there, whatever the order; no more results wait to be
 * taken than tasks are under way.
 *
 * @throws what the first failed task threw, after the others' results, where no `onError` is given
 */
export async function* concurrently<T, R>(
  tasks: Iterable<T> | AsyncIterable<T>,
  run: (task: T) => AsyncIterable<R>,
  { concurrency = 1, signal, onError }: ConcurrencyOptions<T> = {},
): AsyncGenerator<R, void, undefined> {
  const waiting = iterate(tasks);
  const results: { readonly value: R; readonly taken: () => void }[] = [];
  const failures: unknown[] = [];
  let [ended, finished, left] = [false, false, false];
  let wake = () => {};

  async function work() {
    for (;;) {
      const { done, value: task } = await waiting.next();
      if (done || ended || signal?.aborted) return;
      try {
        for await (const value of run(task)) {
          if (left) return;
          // waits until its result is taken, so that results do not pile up before a slow consumer
          await new Promise<void>((taken) => {
            results.push({ value, taken });
            wake();
          });
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
      for (let result = results.shift(); result !== undefined; result = results.shift()) {
        result.taken();
        yield result.value;
      }
      if (finished) break;
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    if (failures.length > 0) throw failures[0];
  } finally {
    [ended, left] = [true, true];
    for (const { taken } of results) taken();
    await all;
    await waiting.return(undefined);
  }
}

async function* iterate<T>(tasks: Iterable<T> | AsyncIterable<T>): AsyncGenerator<T, void, undefined> {
  yield* tasks;
}
