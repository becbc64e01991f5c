import type { BestModel } from './best-model';
import type { StopSignal } from './event-loop';
import type { MetricsRow } from './metrics';

/** What happens in a run of `train`. `type` tells the events apart. */
export type TrainEvent =
  | {
      readonly type: 'start';
      /** Steps done: those of the checkpoint that the run resumes from, else 0. */
      readonly step: number;
      readonly totalSteps: number;
    }
  | {
      /** A step is done, or was skipped because a number was not finite; what was due after it is written. */
      readonly type: 'step';
      readonly step: number;
      readonly totalSteps: number;
      /** This step's numbers, named as in `metrics.jsonl`. A skipped step has no loss. */
      readonly metrics: MetricsRow;
    }
  | {
      /** The held-out pairs were evaluated, and the row is written. */
      readonly type: 'evaluation';
      readonly step: number;
      readonly metrics: MetricsRow;
    }
  | {
      /** A checkpoint is complete. */
      readonly type: 'checkpoint';
      readonly step: number;
    }
  | {
      /** What the user should know. The run continues. */
      readonly type: 'warning';
      readonly message: string;
    };

export interface TrainResult {
  /** Steps done, those before a resume included. */
  readonly step: number;
  readonly totalSteps: number;
  readonly epoch: number;
  /** Tokens seen. */
  readonly tokens: number;
  /** Whether the signal, the reader's `break`, or a collapse with `stopOnCollapse` ended the run early. */
  readonly stopped: boolean;
  /** Steps that were left out because a loss or gradient was not finite. */
  readonly skippedSteps: number;
  /** The checkpoint with the best evaluation; null unless `loadBestModelAtEnd` is set. */
  readonly best: BestModel | null;
  /** What has collapsed, in words, by the last judgement; null for a healthy model. */
  readonly collapse: string | null;
  /**
   * The step of the checkpoint whose weights the policy was given at the end: the best one, or with `stopOnCollapse` the last one
   * before the collapse. Null where it has the weights of the last step.
   */
  readonly restoredStep: number | null;
}

/**
 * A run of `train`, which starts once it is read or awaited.
 *
 * `for await` reads its events. Training waits while an event is handled. Leaving the loop early ends the run as its signal does:
 * it saves first. An error is thrown by the loop. The events of a run can be read once.
 *
 * `await` returns the result. A run whose events are not read trains to its end, and prints warnings with `console.warn`. A run
 * whose events are read has its result when the loop has ended.
 */
export interface TrainRun extends AsyncIterable<TrainEvent>, PromiseLike<TrainResult> {}

/** @param start starts the run; it must end soon after its signal is aborted */
export function trainRun(
  start: (signal: StopSignal) => AsyncGenerator<TrainEvent, TrainResult, void>,
  signal: StopSignal | undefined,
): TrainRun {
  let [isRead, isLeft] = [false, false];
  let resolve!: (result: TrainResult) => void;
  let reject!: (error: unknown) => void;
  const result = new Promise<TrainResult>((...functions) => {
    [resolve, reject] = functions;
  });
  result.catch(() => {}); // the reader gets the error
  const events = run();

  async function* run(): AsyncGenerator<TrainEvent, void, void> {
    const stop = {
      get aborted() {
        return isLeft || signal?.aborted === true;
      },
    };
    try {
      resolve(yield* start(stop));
    } catch (error) {
      reject(error);
      throw error;
    }
  }

  async function* read(): AsyncGenerator<TrainEvent, void, void> {
    if (isRead)
      throw new Error('train: expected a run that is not read or awaited yet. Call train again for another run.');
    isRead = true;
    try {
      for (let next = await events.next(); !next.done; next = await events.next()) yield next.value;
    } finally {
      isLeft = true;
      await finish(events); // at once where the run has ended
    }
  }

  return {
    [Symbol.asyncIterator]: read,
    // biome-ignore lint/suspicious/noThenProperty: `await train(…)` trains to the end and returns the result
    then(onResult, onError) {
      if (!isRead) finish(events).catch(() => {}); // `result` has the error
      isRead = true;
      return result.then(onResult, onError);
    },
  };
}

/** Runs to the end without a reader. */
async function finish(events: AsyncGenerator<TrainEvent, void, void>): Promise<void> {
  for await (const event of events) if (event.type === 'warning') console.warn(event.message);
}
