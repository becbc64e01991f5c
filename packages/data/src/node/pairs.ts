import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { ControlTokenCount, type ControlTokens } from '../encode/control-tokens';
import type { EncodedPair, EncodeOptions } from '../encode/encode-pair';
import { RowError } from '../rows/fields';
import type { PreferenceRow } from '../rows/preference-row';
import { encodeInThreads, pairsOf, type RowBatch, type Threads } from './encode-threads';
import { type ReadRowsOptions, readRows } from './read-rows';
import { folderOf } from './tokenizer-folder';

export interface ReadPairsOptions extends EncodeOptions, ReadRowsOptions {
  /**
   * Number of encoding threads, each with its own tokenizer; 0 or 1 encodes in the calling thread. Default: the number of
   * cores, at most 16, if the file has at least about 8 million characters. Rows are always encoded in the calling thread
   * if the tokenizer did not come from `loadTokenizerFolder`, or if this package is bundled into another file.
   */
  readonly workers?: number;
  /** Called with each row that was read, before it is encoded. */
  readonly onRow?: (row: PreferenceRow) => void;
}

/** The pairs of a file, and what to know about its rows. */
export interface LoadedPairs {
  readonly pairs: EncodedPair[];
  /** The errors of the rows that were skipped. */
  readonly skipped: RowError[];
  /** The rows with control tokens in their texts. */
  readonly controlTokens: ControlTokens;
  /** Number of rows whose prompt is the shared beginning of their answers. */
  readonly sharedPrompts: number;
}

/**
 * Reads and encodes a file as a stream, in threads: the same pairs in the same order, and the same errors, as
 * `encodeRows(readRows(path))`. Holds a few batches of rows in memory, however long the file is. Closes the file and ends
 * the threads when the consumer stops early.
 *
 * @throws {RowError} on a row that cannot be read or encoded, unless `onBadRow` is `skip`
 * @throws {Error} if the file cannot be read, or a thread ends unexpectedly
 * @throws {RangeError} if `workers` is not an integer of at least 0
 */
export async function* readPairs(
  path: string,
  options: ReadPairsOptions,
): AsyncGenerator<EncodedPair, void, undefined> {
  const threads = threadsFor(options);
  const batches = batchesOf(path, options);
  try {
    const first = threads === null ? [] : await take(batches, threads.minBatches);
    const all = chain(first, batches);
    if (threads !== null && first.length === threads.minBatches) yield* encodeInThreads(all, options, threads);
    else for await (const batch of all) yield* pairsOf(batch, null, options);
  } finally {
    await batches.return();
  }
}

/**
 * Reads and encodes a whole file into memory, at four bytes per token.
 *
 * @throws {RowError} on a row that cannot be read or encoded, unless `onBadRow` is `skip`
 * @throws {Error} if the file cannot be read, has no usable pair, or a thread ends unexpectedly
 */
export async function loadPairs(path: string, options: ReadPairsOptions): Promise<LoadedPairs> {
  const pairs: EncodedPair[] = [];
  const skipped: RowError[] = [];
  const onSkip = (error: RowError) => {
    skipped.push(error);
    options.onSkip?.(error);
  };
  const controlTokens = new ControlTokenCount(options);
  let sharedPrompts = 0;
  const onRow = (row: PreferenceRow) => {
    controlTokens.add(row);
    if (row.sharedPrompt) sharedPrompts += 1;
    options.onRow?.(row);
  };
  for await (const pair of readPairs(path, { ...options, onSkip, onRow })) pairs.push(pair);
  if (pairs.length === 0) {
    const rows =
      skipped.length === 1 ? 'The only row was skipped' : `All ${skipped.length} rows were skipped; the first`;
    const why = skipped[0] === undefined ? ' The file has no rows: check the path.' : ` ${rows}: ${skipped[0].message}`;
    throw new Error(`${path}: expected at least one preference pair, found none.${why}`);
  }
  return { pairs, skipped, controlTokens: controlTokens.report(), sharedPrompts };
}

/** Characters of text in a batch. */
const BATCH_SIZE = 2 ** 17;

/** Shorter files are encoded in the calling thread: loading Gemma's tokenizer in a thread takes two seconds. */
const MIN_BATCHES = 64;

/** One thread reads about as fast as 20 encode. Each encoding thread holds Gemma's tokenizer, about 400 MB. */
const MAX_THREADS = 16;

/** In the built package, this file is next to the module. In the sources, and in a bundle of the package, it is missing. */
const worker = workerUrl();

function workerUrl(): URL | undefined {
  try {
    return new URL('./encode-worker.js', import.meta.url);
  } catch {
    return undefined; // a bundle in CommonJS has no `import.meta.url`
  }
}

/** The encoding threads, and the fewest batches for which they are started; null to encode in the calling thread. */
function threadsFor({ workers, tokenizer }: ReadPairsOptions): (Threads & { readonly minBatches: number }) | null {
  if (workers !== undefined && !(Number.isSafeInteger(workers) && workers >= 0)) {
    throw new RangeError(`workers: expected a number of threads, an integer of at least 0, found ${workers}.`);
  }
  const count = workers ?? Math.min(availableParallelism(), MAX_THREADS);
  const folder = folderOf(tokenizer);
  if (count < 2 || folder === undefined || worker === undefined || !existsSync(worker)) return null;
  return { count, worker, folder, minBatches: workers === undefined ? MIN_BATCHES : 0 };
}

/** A file's rows and the errors of skipped rows, in batches. An error that ends reading comes after the rows before it. */
async function* batchesOf(path: string, options: ReadPairsOptions): AsyncGenerator<RowBatch, void, undefined> {
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
      options.onRow?.(row);
      add(row);
      if (size < BATCH_SIZE) continue;
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

/** The next `count` items, or fewer if the iterator ends. */
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
