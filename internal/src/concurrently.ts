/** Options of functions that run many tasks concurrently. */
export interface ConcurrencyOptions<T> {
  /** How many tasks run at once. Default 1. */
  readonly concurrency?: number;
  /** Once aborted, no further task starts. Running tasks finish, and their results are still yielded. */
  readonly signal?: { readonly aborted: boolean };
  /** Called with a task that failed, which is then skipped. Without it, the first failure ends the run like an abort. */
  readonly onError?: (error: unknown, task: T) => void;
}

/**
 * Runs tasks concurrently and yields each result as soon as it is available, in any order. A task pauses until its result
 * is taken, so at most `concurrency` results wait for a slow consumer.
 *
 * @throws the error of the first failed task, after the results of the running tasks, if there is no `onError`
 */
export async function* concurrently<T, R>(
  tasks: Iterable<T> | AsyncIterable<T>,
  run: (task: T) => AsyncIterable<R>,
  { concurrency = 1, signal, onError }: ConcurrencyOptions<T> = {},
): AsyncGenerator<R, void, undefined> {
  const waiting = iterate(tasks);
  const results: { readonly value: R; readonly taken: () => void }[] = [];
  const failures: unknown[] = [];
  let acceptsTasks = true;
  let allDone = false;
  let consumerStopped = false;
  let wake = () => {};

  async function work() {
    for (;;) {
      const { done, value: task } = await waiting.next();
      if (done || !acceptsTasks || signal?.aborted) return;
      try {
        for await (const value of run(task)) {
          if (consumerStopped) return;
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
      acceptsTasks = false;
      failures.push(error);
    }),
  );
  const all = Promise.all(workers).then(() => {
    allDone = true;
    wake();
  });

  try {
    for (;;) {
      for (let result = results.shift(); result !== undefined; result = results.shift()) {
        result.taken();
        yield result.value;
      }
      if (allDone) break;
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    if (failures.length > 0) throw failures[0];
  } finally {
    acceptsTasks = false;
    consumerStopped = true;
    for (const { taken } of results) taken();
    await all;
    await waiting.return(undefined);
  }
}

async function* iterate<T>(tasks: Iterable<T> | AsyncIterable<T>): AsyncGenerator<T, void, undefined> {
  yield* tasks;
}

/**
 * Runs a task on each item, `concurrency` at a time. After a failure no further task starts, and the running ones finish.
 *
 * @param onFailure called at once with the first failure, e.g. to abort the running tasks
 * @throws the error of the first failed task
 */
export async function forEachConcurrently<T>(
  items: Iterable<T>,
  concurrency: number,
  task: (item: T) => Promise<void>,
  onFailure: (error: unknown) => void = () => {},
): Promise<void> {
  const queue = items[Symbol.iterator]();
  const failures: unknown[] = [];
  const work = async () => {
    for (let item = queue.next(); !item.done && failures.length === 0; item = queue.next()) await task(item.value);
  };
  const fail = (error: unknown) => {
    if (failures.push(error) === 1) onFailure(error);
  };
  await Promise.all(Array.from({ length: concurrency }, () => work().catch(fail)));
  if (failures.length > 0) throw failures[0];
}
