// What an encoding thread runs: batches of rows in, their token ids out. See encode-threads.ts.
import { parentPort, workerData } from 'node:worker_threads';
import { type EncodedPair, type EncodeOptions, encodePair } from '../encode/encode-pair';
import type { PreferenceRow } from '../rows/preference-row';
import { loadTokenizerFolder } from './tokenizer-folder';

/** What a thread is started with. */
export interface ThreadOptions extends Omit<EncodeOptions, 'tokenizer'> {
  /** The folder of its tokenizer. */
  readonly folder: string;
}

/** The token ids of a batch of rows, end to end. */
export interface EncodedRows {
  readonly ids: Int32Array<ArrayBuffer>;
  /** Tokens of prompt, chosen and rejected of each row; none of them is 0 but where the row could not be encoded. */
  readonly lengths: Int32Array<ArrayBuffer>; // [rows, 3]
}

const { folder, ...options } = workerData as ThreadOptions;
const port = parentPort!;
const tokenizer = loadTokenizerFolder(folder).then((text) => text.tokenizer);

port.on('message', async (rows: readonly PreferenceRow[]) => {
  const encoded = encodeAll(rows, { ...options, tokenizer: await tokenizer });
  port.postMessage(encoded, [encoded.ids.buffer, encoded.lengths.buffer]);
});

function encodeAll(rows: readonly PreferenceRow[], options: EncodeOptions): EncodedRows {
  const parts = rows.flatMap((row) => partsOf(row, options));
  const lengths = Int32Array.from(parts, ({ length }) => length);
  const ids = new Int32Array(lengths.reduce((sum, length) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    ids.set(part, at);
    at += part.length;
  }
  return { ids, lengths };
}

const NONE = new Int32Array(0);

function partsOf(row: PreferenceRow, options: EncodeOptions): Int32Array[] {
  let pair: EncodedPair;
  try {
    pair = encodePair(row, options);
  } catch {
    return [NONE, NONE, NONE]; // the thread that reads the rows tries it again, and has the error as it is
  }
  return [pair.prompt, pair.chosen, pair.rejected];
}
