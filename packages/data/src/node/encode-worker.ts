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
  let position = 0;
  for (const part of parts) {
    ids.set(part, position);
    position += part.length;
  }
  return { ids, lengths };
}

const NONE = new Int32Array(0);

function partsOf(row: PreferenceRow, options: EncodeOptions): Int32Array[] {
  let pair: EncodedPair;
  try {
    pair = encodePair(row, options);
  } catch {
    return [NONE, NONE, NONE]; // the reading thread encodes the row again and reports the error
  }
  return [pair.prompt, pair.chosen, pair.rejected];
}
