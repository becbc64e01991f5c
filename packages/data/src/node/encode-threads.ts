import { Worker } from 'node:worker_threads';
import { type EncodedPair, type EncodeOptions, encodePair } from '../encode/encode-pair';
import type { PreferenceRow } from '../rows/preference-row';
import { type BadRows, keepGood } from '../rows/read-rows';
import { RowError } from '../rows/row-error';
import type { EncodedRows, ThreadOptions } from './encode-worker';

/** Some of a file's rows, and those left out, in its order. */
export interface RowBatch {
  readonly items: readonly (PreferenceRow | RowError)[];
  /** What ended the reading after them. */
  readonly failure?: { readonly error: unknown };
}

/** Batches on their way to each thread: one that it encodes, others so that it never waits for the next. */
const AHEAD = 3;

/** Who encodes: so many threads, which run the file of `encode-worker.ts` and read the tokenizer of a folder. */
export interface Threads {
  readonly count: number;
  readonly worker: URL;
  readonly folder: string;
}

/**
 * Encodes batches of rows in threads: the same pairs in the same order, and the same calls and errors, as `encodeRows`
 * gives in one. A few batches a thread are in memory at a time; the threads end with the generator.
 *
 * @throws {RowError} on a row that cannot be encoded, unless `onBadRow` is `skip`
 * @throws {Error} where a thread dies
 */
export async function* encodeInThreads(
  batches: AsyncIterable<RowBatch> | Iterable<RowBatch>,
  options: EncodeOptions & BadRows,
  { count, worker, folder }: Threads,
): AsyncGenerator<EncodedPair, void, undefined> {
  const threads = Array.from({ length: count }, () => startThread(worker, folder, options));
  const underway: { readonly batch: RowBatch; readonly encoded: () => Promise<EncodedRows> }[] = [];
  const deliver = async function* () {
    const { batch, encoded } = underway.shift()!;
    yield* pairsOf(batch, await encoded(), options);
  };
  try {
    for await (const batch of batches) {
      const thread = threads.reduce((least, one) => (one.pending() < least.pending() ? one : least));
      underway.push({ batch, encoded: thread.encode(rowsOf(batch)) });
      if (underway.length === count * AHEAD) yield* deliver();
    }
    while (underway.length > 0) yield* deliver();
  } finally {
    await Promise.all(threads.map((thread) => thread.end()));
  }
}

const rowsOf = ({ items }: RowBatch) => items.filter((item): item is PreferenceRow => !(item instanceof RowError));

/** A batch's pairs by what a thread gave; rows that it could not encode are encoded here, for their error. */
export function* pairsOf(
  { items, failure }: RowBatch,
  encoded: EncodedRows | null,
  options: EncodeOptions & BadRows,
): Generator<EncodedPair, void, undefined> {
  const pairs = encoded && pairReader(encoded);
  for (const item of items) {
    if (item instanceof RowError) options.onSkip?.(item);
    else {
      const pair = pairs?.(item) ?? keepGood(() => encodePair(item, options), options);
      if (pair !== undefined) yield pair;
    }
  }
  if (failure !== undefined) throw failure.error;
}

/** A function that gives the pair of one row after another; undefined for one that was not encoded. */
function pairReader({ ids, lengths }: EncodedRows): (row: PreferenceRow) => EncodedPair | undefined {
  let [part, at] = [0, 0];
  const next = () => {
    const start = at;
    at += lengths[part++]!;
    return ids.slice(start, at);
  };
  return ({ id, weight }) => {
    const [prompt, chosen, rejected] = [next(), next(), next()];
    if (prompt.length === 0) return undefined;
    return { id, prompt, chosen, rejected, ...(weight === undefined ? {} : { weight }) };
  };
}

interface Thread {
  /** How many batches it has yet to encode. */
  pending(): number;
  /** Gives it a batch; what is returned waits for the answer, and keeps the process alive meanwhile. */
  encode(rows: readonly PreferenceRow[]): () => Promise<EncodedRows>;
  end(): Promise<unknown>;
}

function startThread(file: URL, folder: string, options: EncodeOptions): Thread {
  const { chatTemplate, completion, eosTokenId, truncation, maxLength, maxPromptLength } = options;
  const encoding = { chatTemplate, completion, eosTokenId, truncation, maxLength, maxPromptLength };
  const worker = new Worker(file, { workerData: { folder, ...encoding } satisfies ThreadOptions });
  // a generator that is dropped unfinished keeps no process alive; a thread takes this in only once it runs
  let awaited = 0;
  const hold = (by: number) => {
    awaited += by;
    if (awaited > 0) worker.ref();
    else worker.unref();
  };
  worker.on('online', () => hold(0));
  const waiting: { readonly resolve: (rows: EncodedRows) => void; readonly reject: (error: Error) => void }[] = [];
  let death: Error | undefined;
  const die = (error: Error) => {
    death ??= error;
    for (const { reject } of waiting.splice(0)) reject(death);
  };
  worker.on('message', (encoded: EncodedRows) => waiting.shift()?.resolve(encoded));
  worker.on('error', (error) => die(threadError(error.message, error)));
  worker.on('exit', (code) => die(threadError(`it exited with ${code}`)));
  return {
    pending: () => waiting.length,
    encode(rows) {
      const answer = new Promise<EncodedRows>((resolve, reject) => {
        if (death !== undefined) return reject(death);
        waiting.push({ resolve, reject });
        worker.postMessage(rows);
      });
      answer.catch(() => {}); // it may fail before it is waited for
      return async () => {
        hold(1);
        try {
          return await answer;
        } finally {
          hold(-1);
        }
      };
    },
    end: () => worker.terminate(),
  };
}

function threadError(why: string, cause?: Error): Error {
  const mend = 'Encode with fewer workers, or in the main thread with `workers: 1`.';
  return new Error(`a thread that encodes rows ended before its work was done: ${why}. ${mend}`, { cause });
}
