import {
  type EncodeOptions,
  inspectPairs,
  keepGood,
  type MeasuredRow,
  measureTokens,
  measureWords,
  type PairReport,
  type TextOptions,
} from '@wpo/data';
import { loadTokenizerFolder, type ReadRowsOptions, readRows } from '@wpo/data/node';
import type { SkippedRows } from '../pairs';

/** What to inspect, and how its rows are encoded. */
export interface InspectedSource extends Omit<EncodeOptions, 'tokenizer' | 'chatTemplate'>, ReadRowsOptions {
  readonly file: string;
  /** How many rows of each kind are reported that are worth a look. */
  readonly worst: number;
}

/**
 * Statistics of preference pairs. Rows that cannot be read or encoded are added to `skipped` and left out.
 *
 * @param folder of a tokenizer: lengths are in tokens; without it, in words
 */
export async function inspectRows(
  source: InspectedSource,
  folder: string | undefined,
  skipped: SkippedRows,
): Promise<PairReport> {
  const textOptions = folder === undefined ? undefined : await loadTokenizerFolder(folder);
  return inspectPairs(measuredRows(source, textOptions, skipped), { ...source, tokenizer: textOptions?.tokenizer });
}

/** Rows with their lengths. Those that cannot be read or encoded are added to `skipped` and left out. */
export async function* measuredRows(
  source: Omit<InspectedSource, 'worst'>,
  textOptions: TextOptions | undefined,
  skipped: SkippedRows,
): AsyncGenerator<MeasuredRow, void, undefined> {
  const { file, split, columns, onDownload, onWait, signal } = source;
  const options = { onBadRow: 'skip', onSkip: skipped.add } as const;
  for await (const row of readRows(file, { ...options, split, columns, onDownload, onWait, signal })) {
    const measured = keepGood(
      () => (textOptions === undefined ? measureWords(row) : measureTokens(row, { ...source, ...textOptions })),
      options,
    );
    if (measured !== undefined) yield { row, measured };
  }
}
