import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import type { EncodedPair, EncodeOptions } from '../encode/encode-pair';
import type { PreferenceRow } from '../rows/preference-row';
import { RowError } from '../rows/row-error';
import { encodeInThreads, pairsOf, type RowBatch, type Threads } from './encode-threads';
import { type ReadRowsOptions, readRows } from './rows';
import { folderOf } from './tokenizer-folder';

export interface ReadPairsOptions extends EncodeOptions, ReadRowsOptions {
  /**
   * Threads that encode, each with a tokenizer of its own; 0 or 1: none but the caller's. Default: as many as there are
   * cores, 16 at most, for a file long enough to be worth their start. A tokenizer that `loadTokenizerFolder` did not
   * give, and a package that was bundled into another file, have but the caller's.
   */
  readonly workers?: number;
}

/** The pairs of a file, and the rows that were left out. */
export interface LoadedPairs {
  readonly pairs: EncodedPair[];
  readonly skipped: RowError[];
}

/**
 * Reads and encodes a file as a stream, in threads: the same pairs in the same order, and the same errors, as
 * `encodeRows(readRows(path))`. Holds a few batches of rows in memory, however long the file; closes it and ends the
 * threads when stopped early.
 *
 * @throws {RowError} on a row that cannot be read or encoded, unless `onBadRow` is `skip`
 * @throws {Error} where the file cannot be read, or a thread dies
 * @throws {RangeError} where `workers` is no count
 */
export async function* readPairs(
  path: string,
  options: ReadPairsOptions,
): AsyncGenerator<EncodedPair, void, undefined> {
  const threads = threadsFor(options);
  const batches = batchesOf(path, options);
  try {
    const first = threads === null ? [] : await take(batches, threads.from);
    const all = chain(first, batches);
    if (threads !== null && first.length === threads.from) yield* encodeInThreads(all, options, threads);
    else for await (const batch of all) yield* pairsOf(batch, null, options);
  } finally {
    await batches.return();
  }
}

/**
 * Reads and encodes a whole file: what training holds in memory, four bytes a token.
 *
 * @throws {RowError} on a row that cannot be read or encoded, unless `onBadRow` is `skip`
 * @throws {Error} where the file cannot be read, no pair is left, or a thread dies
 */
export async function loadPairs(path: string, options: ReadPairsOptions): Promise<LoadedPairs> {
  const pairs: EncodedPair[] = [];
  const skipped: RowError[] = [];
  const onSkip = (error: RowError) => {
    skipped.push(error);
    options.onSkip?.(error);
  };
  for await (const pair of readPairs(path, { ...options, onSkip })) pairs.push(pair);
  if (pairs.length === 0) {
    const why =
      skipped[0] === undefined ? '' : ` All ${skipped.length} rows were skipped; the first: ${skipped[0].message}`;
    throw new Error(`${path}: found no preference pairs, wanted at least one.${why}`);
  }
  return { pairs, skipped };
}

/** Characters in a batch. */
const BATCH = 2 ** 17;

/** Batches from which on threads are worth their start: a few seconds of encoding, as reading Gemma's tokenizer takes two. */
const WORTH_THREADS = 64;

/** Threads that one reader can feed: it takes a twentieth of the time. Each holds Gemma's tokenizer, some 400 MB. */
const MOST_THREADS = 16;

/** Beside this file in the built package; neither in its sources nor in a bundle made of it. */
const worker = new URL('./encode-worker.js', import.meta.url);

/** Which threads encode, and from how many batches on; null where they cannot, or are not to. */
function threadsFor({ workers, tokenizer }: ReadPairsOptions): (Threads & { readonly from: number }) | null {
  if (workers !== undefined && !(Number.isSafeInteger(workers) && workers >= 0)) {
    throw new RangeError(`found workers ${workers}, wanted how many threads encode: an integer of at least 0.`);
  }
  const count = workers ?? Math.min(availableParallelism(), MOST_THREADS);
  const folder = folderOf(tokenizer);
  if (count < 2 || folder === undefined || !existsSync(worker)) return null;
  return { count, worker, folder, from: workers === undefined ? WORTH_THREADS : 0 };
}

/** A file's rows in batches, those left out among them. What ends the reading comes after the rows before it. */
async function* batchesOf(path: string, options: ReadRowsOptions): AsyncGenerator<RowBatch, void, undefined> {
  let items: (PreferenceRow | RowError)[] = [];
  let failure: RowBatch['failure'];
  let size = 0;
  const add = (item: PreferenceRow | RowError) => {
    items.push(item);
    size += sizeOf(item);
  };
  const rows = readRows(path, { ...options, onSkip: add });
  try {
    for await (const row of rows) {
      add(row);
      if (size < BATCH) continue;
      yield { items };
      [items, size] = [[], 0];
    }
  } catch (error) {
    failure = { error };
  }
  yield { items, ...(failure && { failure }) };
}

const sizeOf = (item: PreferenceRow | RowError) =>
  item instanceof RowError
    ? item.message.length
    : item.context.reduce((sum, { content }) => sum + content.length, item.chosen.length + item.rejected.length);

/** The next items, `count` of them where there are so many. */
async function take<T>(items: AsyncIterator<T>, count: number): Promise<T[]> {
  const taken: T[] = [];
  while (taken.length < count) {
    const { value, done } = await items.next();
    if (done) break;
    taken.push(value);
  }
  return taken;
}

async function* chain<T>(first: readonly T[], rest: AsyncIterable<T>): AsyncGenerator<T, void, undefined> {
  yield* first;
  yield* rest;
}
