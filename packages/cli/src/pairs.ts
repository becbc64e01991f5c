import { type Columns, type EncodedPair, type EncodeOptions, epochOrder, type RowError } from '@wpo/data';
import { loadPairs, loadTokenizerFolder } from '@wpo/data/node';
import { withDownloads } from './downloads';
import { fromInput, UserError } from './errors';
import type { TrainConfig } from './schemas/train';
import type { Terminal } from './terminal';

/** The pairs of a run. */
export interface RunPairs {
  readonly train: readonly EncodedPair[];
  /** Held-out pairs; none where the config names none. */
  readonly held: readonly EncodedPair[];
  /** Rows left out, of both files. */
  readonly skipped: number;
}

/** Reads and encodes a run's pairs, and says which rows were skipped. */
export async function readRunPairs(config: TrainConfig, terminal: Terminal): Promise<RunPairs> {
  const read = await pairReader(config.modelNameOrPath, terminal, {
    completion: config.completion,
    truncation: config.truncation,
    maxLength: config.maxLength,
    maxPromptLength: config.maxPromptLength,
    onBadRow: config.onBadRow,
    columns: config.columns,
  });
  const train = await read(config.trainFile, config.datasetTrainSplit);
  if (config.evalFile !== undefined) {
    const held = await read(config.evalFile, config.datasetTestSplit ?? HELD_OUT);
    return { train: train.pairs, held: held.pairs, skipped: train.skipped + held.skipped };
  }
  return { ...holdOut(train.pairs, config), skipped: train.skipped };
}

/** Splits of `eval_file`, the first that is there, where the config names none. */
const HELD_OUT = ['test_prefs', 'test', 'validation'];

type ReaderOptions = Omit<EncodeOptions, 'tokenizer' | 'chatTemplate'> & {
  readonly onBadRow: 'error' | 'skip';
  readonly columns?: Columns;
};

/** Reads pairs by a model's tokenizer and chat template; says on the terminal which rows were skipped. */
export async function pairReader(model: string, terminal: Terminal, options: ReaderOptions) {
  const text = await fromInput(() => loadTokenizerFolder(model));
  return async (
    file: string,
    split?: string | readonly string[],
  ): Promise<{ pairs: EncodedPair[]; skipped: number }> => {
    const { pairs, skipped } = await fromInput(() =>
      withDownloads(terminal, (onDownload) => loadPairs(file, { ...text, ...options, split, onDownload })),
    );
    warnOfSkipped(file, skipped, terminal);
    return { pairs, skipped: skipped.length };
  };
}

const NAMED = 3;

function warnOfSkipped(file: string, skipped: readonly RowError[], { stderr }: Terminal): void {
  if (skipped.length === 0) return;
  stderr.write(`${file}: skipped ${skipped.length} rows that cannot be used:\n`);
  for (const { message } of skipped.slice(0, NAMED)) stderr.write(`  ${message}\n`);
  if (skipped.length > NAMED) stderr.write(`  and ${skipped.length - NAMED} more\n`);
}

/** Takes the held-out pairs from among the others: which, the seed decides; both parts keep the file's order. */
function holdOut(pairs: readonly EncodedPair[], { evalSplit = 0, seed, trainFile }: TrainConfig) {
  const size = evalSplit < 1 ? Math.ceil(evalSplit * pairs.length) : evalSplit;
  if (size >= pairs.length) {
    throw new UserError(
      `eval_split: expected fewer than the ${pairs.length} pairs of ${trainFile}, found ${size}. Leave some to train on.`,
    );
  }
  const chosen = new Set(epochOrder(pairs.length, seed, 0).slice(0, size));
  return {
    train: pairs.filter((_, i) => !chosen.has(i)),
    held: pairs.filter((_, i) => chosen.has(i)),
  };
}
