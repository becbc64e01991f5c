// The script of an encoding thread: receives batches of rows, sends back their token ids. See encode-threads.ts.
import { parentPort, workerData } from 'node:worker_threads';
import { type EncodedPair, type EncodeOptions, encodePair } from '../encode/encode-pair';
import type { PreferenceRow } from '../rows/preference-row';
import { loadTokenizerFolder } from './tokenizer-folder';

/** The `workerData` of a thread. */
export interface ThreadOptions extends Omit<EncodeOptions, 'tokenizer'> {
  /** The folder of its tokenizer. */
  readonly folder: string;
}

/** The token ids of a batch of rows, concatenated. */
export interface EncodedRows {
  readonly ids: Int32Array<ArrayBuffer>;
  /** Number of tokens of each row's prompt, chosen and rejected, `[rows, 3]`; all 0 if the row could not be encoded. */
  readonly lengths: Int32Array<ArrayBuffer>;
  /** Number of tokens that truncation cut from each row's prompt and answers, `[rows, 2]`. */
  readonly cuts: Int32Array<ArrayBuffer>;
}

const { folder, ...options } = workerData as ThreadOptions;
const port = parentPort!;
const tokenizer = loadTokenizerFolder(folder).then((text) => text.tokenizer);

port.on('message', async (rows: readonly PreferenceRow[]) => {
  const encoded = encodeAll(rows, { ...options, tokenizer: await tokenizer });
  port.postMessage(encoded, [encoded.ids.buffer, encoded.lengths.buffer, encoded.cuts.buffer]);
});

function encodeAll(rows: readonly PreferenceRow[], options: EncodeOptions): EncodedRows {
  const pairs = rows.map((row) => encodeOne(row, options));
  const parts = pairs.flatMap((pair) => (pair ? [pair.prompt, pair.chosen, pair.rejected] : [NONE, NONE, NONE]));
  const cuts = Int32Array.from(pairs.flatMap((pair) => [pair?.truncated?.prompt ?? 0, pair?.truncated?.answer ?? 0]));
  const lengths = Int32Array.from(parts, ({ length }) => length);
  const ids = new Int32Array(lengths.reduce((sum, length) => sum + length, 0));
  let position = 0;
  for (const part of parts) {
    ids.set(part, position);
    position += part.length;
  }
  return { ids, lengths, cuts };
}

const NONE = new Int32Array(0);

/** Undefined for a row that cannot be encoded: the reading thread encodes it again and reports the error. */
function encodeOne(row: PreferenceRow, options: EncodeOptions): EncodedPair | undefined {
  try {
    return encodePair(row, options);
  } catch {
    return undefined;
  }
}
