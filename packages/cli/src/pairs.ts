import {
  type Columns,
  type ControlTokens,
  type EncodedPair,
  type EncodeOptions,
  epochOrder,
  mixRows,
  type RowError,
} from '@wpo/data';
import { loadPairs, loadTokenizerFolder } from '@wpo/data/node';
import { withDownloads } from './downloads';
import { fromInput, UserError } from './errors';
import { type PairSource, sourcesOf } from './schemas/shared';
import type { TrainConfig } from './schemas/train';
import { count, counted, share } from './terminal/format';
import type { Terminal } from './terminal/terminal';

/** The pairs of a run. */
export interface RunPairs {
  /** With the sources of `train_file` at their shares. A pair that the mixture repeats is there several times, as one object. */
  readonly train: readonly EncodedPair[];
  /** Held-out pairs; empty if the configuration has none. */
  readonly held: readonly EncodedPair[];
  /** Number of rows of both files that were left out. */
  readonly skipped: number;
}

/** Reads and encodes the pairs of a training run. Reports the rows that are skipped. */
export async function readRunPairs(config: TrainConfig, terminal: Terminal): Promise<RunPairs> {
  const read = await pairReader(config.modelNameOrPath, terminal, {
    completion: config.completion,
    promptFormat: config.promptFormat,
    systemRole: config.systemRole,
    truncation: config.truncation,
    maxLength: config.maxLength,
    maxPromptLength: config.maxPromptLength,
    onBadRow: config.onBadRow,
    columns: config.columns,
  });
  let skipped = 0;
  const readAll = async (sources: readonly RunSource[]) => {
    const all: PairsOf<EncodedPair>[] = [];
    for (const { path, share, split, columns } of sources) {
      const found = await read(path, split, columns);
      skipped += found.skipped;
      all.push({ path, share, pairs: found.pairs });
    }
    return all;
  };
  const { train, evaluation } = runSources(config);
  const divided = dividePairs(await readAll(train), await readAll(evaluation), config);
  if (train.length > 1) {
    for (const { path, pairs, taken } of divided.sources) {
      const part = `${share(taken, divided.train.length)} of an epoch`;
      terminal.stderr.write(`${path}: ${counted(pairs.length, 'pair')}; ${part}\n`);
    }
  }
  return { train: divided.train, held: divided.held, skipped };
}

/** A source; of several names of splits, the first that exists is read. */
type RunSource = Omit<PairSource, 'split'> & { readonly split: string | readonly string[] | undefined };

/** The sources of a run, with the splits that are read of them. */
export function runSources({ trainFile, evalFile, datasetTrainSplit, datasetTestSplit }: TrainConfig) {
  const withSplit = (sources: readonly PairSource[], split: string | readonly string[] | undefined): RunSource[] =>
    sources.map((source) => ({ ...source, split: source.split ?? split }));
  return {
    train: withSplit(sourcesOf(trainFile), datasetTrainSplit),
    evaluation: withSplit(sourcesOf(evalFile), datasetTestSplit ?? HELD_OUT_SPLITS),
  };
}

/** The pairs of a source, encoded or in another form. */
export interface PairsOf<T> extends Pick<PairSource, 'path' | 'share'> {
  readonly pairs: readonly T[];
}

/** The pairs of a run, and what an epoch takes of each source. */
export interface DividedPairs<T> {
  readonly train: readonly T[];
  readonly held: readonly T[];
  /** Without the held-out pairs. `taken` is the number of pairs that an epoch takes of the source. */
  readonly sources: readonly (PairsOf<T> & { readonly taken: number })[];
}

/**
 * Divides pairs into those to train on, with the sources at their shares, and held-out ones: those of `evaluation`, or without such
 * sources some of `sources`, by `eval_split`.
 */
export function dividePairs<T extends object>(
  sources: readonly PairsOf<T>[],
  evaluation: readonly PairsOf<T>[],
  config: TrainConfig,
): DividedPairs<T> {
  const { held, rest } =
    evaluation.length > 0
      ? { held: evaluation.flatMap(({ pairs }) => pairs), rest: sources }
      : holdOut(sources, config);
  const train = mix(rest, config);
  const counts = new Map<T, number>();
  for (const pair of train) counts.set(pair, (counts.get(pair) ?? 0) + 1);
  const takenOf = (pairs: readonly T[]) => pairs.reduce((sum, pair) => sum + (counts.get(pair) ?? 0), 0);
  return { train, held, sources: rest.map((source) => ({ ...source, taken: takenOf(source.pairs) })) };
}

/** Brings the sources to their shares. Without shares, each pair is taken once. */
function mix<T>(sources: readonly PairsOf<T>[], { mixing, seed }: TrainConfig): readonly T[] {
  const shares = sources.flatMap(({ share, pairs: rows }) => (share === undefined ? [] : [{ rows, share }]));
  const empty = shares.length === 0 ? undefined : sources.find(({ pairs }) => pairs.length === 0);
  if (empty !== undefined) {
    throw new UserError(
      `${empty.path}: expected pairs to train on, found none beside the held-out pairs. Lower eval_split.`,
    );
  }
  return shares.length === 0 ? sources.flatMap(({ pairs }) => pairs) : mixRows(shares, { mixing, seed });
}

/** If the configuration names no split of `eval_file`, the first of these that exists is read. */
const HELD_OUT_SPLITS = ['test_prefs', 'test', 'validation'];

type ReaderOptions = Omit<EncodeOptions, 'tokenizer' | 'chatTemplate'> & {
  readonly onBadRow: 'error' | 'skip';
  readonly columns?: Columns;
};

/** Reads pairs with the tokenizer and chat template of a model. Reports the rows that are skipped. */
export async function pairReader(model: string, terminal: Terminal, options: ReaderOptions) {
  const textOptions = await fromInput(() => loadTokenizerFolder(model));
  return async (
    file: string,
    split?: string | readonly string[],
    columns = options.columns,
  ): Promise<{ pairs: EncodedPair[]; skipped: number }> => {
    const { pairs, skipped, controlTokens, sharedPrompts } = await fromInput(() =>
      withDownloads(terminal, (hub) => loadPairs(file, { ...textOptions, ...options, ...hub, split, columns })),
    );
    const report = new SkippedRows(file);
    skipped.forEach(report.add);
    report.warn(terminal);
    warnOfControlTokens(file, controlTokens, terminal);
    warnOfTruncation(file, pairs, options, terminal);
    if (sharedPrompts > 0) terminal.stderr.write(`${describeSharedPrompts(file, sharedPrompts)}\n`);
    return { pairs, skipped: skipped.length };
  };
}

/** Reports rows that were left out because a field of them is null, if there are any. */
export function warnOfLeftOut(file: string, rows: number, field: string, { stderr }: Terminal): void {
  if (rows > 0)
    stderr.write(`${file}: left out ${count(rows)} ${rows === 1 ? 'row' : 'rows'} whose ${field} is null.\n`);
}

/** Reports rows whose texts have control tokens, if there are any. @param noun what a row is called */
export function warnOfControlTokens(file: string, found: ControlTokens, { stderr }: Terminal, noun = 'row'): void {
  if (found.rows > 0) stderr.write(`${describeControlTokens(file, found, noun)}\n`);
}

/** The report of rows whose texts have control tokens. */
export const describeControlTokens = (file: string, { rows, tokens, first }: ControlTokens, noun = 'row'): string =>
  `${file}: ${count(rows)} ${rows === 1 ? `${noun} has` : `${noun}s have`} control tokens in the text (${tokens.join(', ')}` +
  `${first === undefined ? '' : `; first in ${first}`}). The model sees them in addition to those of the chat template. Remove them, or set prompt_format to ` +
  '"templated" if a chat template rendered the prompts already.';

/** Reports pairs that truncation has shortened, if there are any. */
function warnOfTruncation(
  file: string,
  pairs: readonly EncodedPair[],
  { maxLength = 2048 }: Pick<EncodeOptions, 'maxLength'>,
  { stderr }: Terminal,
): void {
  const cut = pairs.flatMap(({ truncated }) => truncated ?? []);
  if (cut.length === 0) return;
  const losses = [
    [cut.filter(({ prompt }) => prompt > 0).length, 'a part of the prompt'],
    [cut.filter(({ answer }) => answer > 0).length, 'the end of an answer'],
  ] as const;
  const lost = losses.filter(([number]) => number > 0).map(([number, what]) => `${count(number)} lost ${what}`);
  stderr.write(
    `${file}: ${count(cut.length)} of ${counted(pairs.length, 'pair')} did not fit max_length ${count(maxLength)}: ${lost.join(', ')}. ` +
      'Raise max_length if there is memory for it; `wpo inspect` shows the lengths.\n',
  );
}

/** The report of rows without a prompt of their own. */
export const describeSharedPrompts = (file: string, rows: number): string =>
  `${file}: ${count(rows)} ${rows === 1 ? 'row has' : 'rows have'} no prompt: the beginning that both answers share was taken as the ` +
  'prompt, as TRL does. If a column has the prompt, name it: columns: {prompt: …}.';

/** Takes held-out pairs at random from the others. Both parts keep the order of the file. */
function holdOut<T extends object>(sources: readonly PairsOf<T>[], { evalSplit = 0, seed }: TrainConfig) {
  const pairs = sources.flatMap((source) => source.pairs);
  const size = evalSplit < 1 ? Math.ceil(evalSplit * pairs.length) : evalSplit;
  if (size >= pairs.length) {
    throw new UserError(
      `eval_split: expected fewer pairs than the ${pairs.length} of ${sources.map(({ path }) => path).join(', ')}, found ${size}. Leave some to train on.`,
    );
  }
  const held = new Set(Array.from(epochOrder(pairs.length, seed, 0).subarray(0, size), (i) => pairs[i]!));
  return {
    held: pairs.filter((pair) => held.has(pair)),
    rest: sources.map((source) => ({ ...source, pairs: source.pairs.filter((pair) => !held.has(pair)) })),
  };
}

const MAX_NAMED = 3;

/** Counts rows that are left out, and keeps the messages of the first few. */
export class SkippedRows {
  count = 0;
  /** The messages of the first few. */
  readonly named: string[] = [];

  constructor(private readonly file: string) {}

  readonly add = ({ message }: RowError): void => {
    this.count += 1;
    if (this.named.length < MAX_NAMED) this.named.push(message);
  };

  /** Reports the rows that were left out, if there are any. */
  warn({ stderr }: Terminal): void {
    if (this.count === 0) return;
    stderr.write(`${this.file}: skipped ${counted(this.count, 'row')} that cannot be used:\n`);
    for (const message of this.named) stderr.write(`  ${message}\n`);
    if (this.count > this.named.length) stderr.write(`  and ${this.count - this.named.length} more\n`);
  }
}
