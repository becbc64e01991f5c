import { Worker } from 'node:worker_threads';
import { type EncodedPair, type EncodeOptions, encodePair, pairOf } from '../encode/encode-pair';
import { RowError } from '../rows/fields';
import type { PreferenceRow } from '../rows/preference-row';
import { type BadRows, keepGood } from '../rows/read-rows';
import type { EncodedRows, ThreadOptions } from './encode-worker';

/** A batch of a file's rows and the errors of its skipped rows, in file order. */
export interface RowBatch {
  readonly items: readonly (PreferenceRow | RowError)[];
  /** The error that ended reading after these rows. */
  readonly failure?: { readonly error: unknown };
}

/** Batches in flight per thread: the one that it encodes, and two more so that it never waits for the next. */
const BATCHES_PER_THREAD = 3;

/** The encoding threads: each runs the built `encode-worker.ts` and loads the tokenizer of a folder. */
export interface Threads {
  readonly count: number;
  readonly worker: URL;
  readonly folder: string;
}

/**
 * Encodes batches of rows in threads: the same pairs in the same order, and the same callbacks and errors, as `encodeRows`
 * in one thread. A few batches per thread are in memory at a time; the threads end with the generator.
 *
 * @throws {RowError} on a row that cannot be encoded, unless `onBadRow` is `skip`
 * @throws {Error} if a thread ends unexpectedly
 */
export async function* encodeInThreads(
  batches: AsyncIterable<RowBatch> | Iterable<RowBatch>,
  options: EncodeOptions & BadRows,
  { count, worker, folder }: Threads,
): AsyncGenerator<EncodedPair, void, undefined> {
  const threads = Array.from({ length: count }, () => startThread(worker, folder, options));
  const inFlight: { readonly batch: RowBatch; readonly encoded: () => Promise<EncodedRows> }[] = [];
  const yieldOldest = async function* () {
    const { batch, encoded } = inFlight.shift()!;
    yield* pairsOf(batch, await encoded(), options);
  };
  try {
    for await (const batch of batches) {
      const thread = threads.reduce((least, one) => (one.pending() < least.pending() ? one : least));
      inFlight.push({ batch, encoded: thread.encode(rowsOf(batch)) });
      if (inFlight.length === count * BATCHES_PER_THREAD) yield* yieldOldest();
    }
    while (inFlight.length > 0) yield* yieldOldest();
  } finally {
    await Promise.all(threads.map((thread) => thread.end()));
  }
}

const rowsOf = ({ items }: RowBatch) => items.filter((item): item is PreferenceRow => !(item instanceof RowError));

/**
 * The pairs of a batch from a thread's ids. Rows that the thread could not encode are encoded again here, which throws or
 * reports their error.
 *
 * @param encoded null to encode all rows here
 */
export function* pairsOf(
  { items, failure }: RowBatch,
  encoded: EncodedRows | null,
  options: EncodeOptions & BadRows,
): Generator<EncodedPair, void, undefined> {
  const nextPair = encoded && pairReader(encoded);
  for (const item of items) {
    if (item instanceof RowError) options.onSkip?.(item);
    else {
      const pair = nextPair?.(item) ?? keepGood(() => encodePair(item, options), options);
      if (pair !== undefined) yield pair;
    }
  }
  if (failure !== undefined) throw failure.error;
}

/** A function that returns the pair of each row in turn; undefined for a row that the thread could not encode. */
function pairReader({ ids, lengths, cuts }: EncodedRows): (row: PreferenceRow) => EncodedPair | undefined {
  let [part, position, at] = [0, 0, 0];
  const next = () => {
    const start = position;
    position += lengths[part++]!;
    return ids.slice(start, position);
  };
  return (row) => {
    const [prompt, chosen, rejected] = [next(), next(), next()];
    const truncated = { prompt: cuts[at++]!, answer: cuts[at++]! };
    return prompt.length === 0 ? undefined : pairOf(row, { prompt, chosen, rejected }, truncated);
  };
}

interface Thread {
  /** Number of batches that are not encoded yet. */
  pending(): number;
  /** Sends a batch. Returns a function that waits for the result and keeps the process alive meanwhile. */
  encode(rows: readonly PreferenceRow[]): () => Promise<EncodedRows>;
  end(): Promise<unknown>;
}

function startThread(file: URL, folder: string, options: EncodeOptions): Thread {
  const { chatTemplate, systemRole, completion, promptFormat, eosTokenId, truncation, maxLength, maxPromptLength } =
    options;
  const encoding = {
    chatTemplate,
    systemRole,
    completion,
    promptFormat,
    eosTokenId,
    truncation,
    maxLength,
    maxPromptLength,
  };
  const worker = new Worker(file, { workerData: { folder, ...encoding } satisfies ThreadOptions });
  // A generator that is dropped unfinished must not keep the process alive. `unref` has an effect only once the thread runs.
  let waiters = 0;
  const hold = (by: number) => {
    waiters += by;
    if (waiters > 0) worker.ref();
    else worker.unref();
  };
  worker.on('online', () => hold(0));
  const pending: { readonly resolve: (rows: EncodedRows) => void; readonly reject: (error: Error) => void }[] = [];
  let failure: Error | undefined;
  const fail = (error: Error) => {
    failure ??= error;
    for (const { reject } of pending.splice(0)) reject(failure);
  };
  worker.on('message', (encoded: EncodedRows) => pending.shift()?.resolve(encoded));
  worker.on('error', (error) => fail(threadError(error.message, error)));
  worker.on('exit', (code) => fail(threadError(`exit code ${code}`)));
  return {
    pending: () => pending.length,
    encode(rows) {
      const result = new Promise<EncodedRows>((resolve, reject) => {
        if (failure !== undefined) return reject(failure);
        pending.push({ resolve, reject });
        worker.postMessage(rows);
      });
      result.catch(() => {}); // it may fail before anyone waits for it
      return async () => {
        hold(1);
        try {
          return await result;
        } finally {
          hold(-1);
        }
      };
    },
    end: () => worker.terminate(),
  };
}

function threadError(why: string, cause?: Error): Error {
  const hint = 'Use fewer workers, or encode in the calling thread with `workers: 1`.';
  return new Error(`an encoding thread ended before its work was done (${why}). ${hint}`, { cause });
}
