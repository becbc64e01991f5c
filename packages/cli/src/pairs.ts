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
import type { PairSource } from './schemas/shared';
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
  const sources: Source[] = [];
  for (const source of sourcesOf(config)) {
    sources.push({ ...source, ...(await read(source.path, source.split ?? config.datasetTrainSplit, source.columns)) });
  }
  const skipped = sources.reduce((sum, source) => sum + source.skipped, 0);
  if (config.evalFile !== undefined) {
    const held = await read(config.evalFile, config.datasetTestSplit ?? HELD_OUT_SPLITS);
    return { train: mix(sources, config, terminal), held: held.pairs, skipped: skipped + held.skipped };
  }
  const { held, rest } = holdOut(sources, config);
  return { train: mix(rest, config, terminal), held, skipped };
}

const sourcesOf = ({ trainFile }: TrainConfig): readonly PairSource[] =>
  typeof trainFile === 'string' ? [{ path: trainFile }] : trainFile;

type Source = PairSource & { readonly pairs: readonly EncodedPair[]; readonly skipped: number };

/** Brings the sources to their shares. Without shares, each pair is taken once. */
function mix(sources: readonly Source[], { mixing, seed }: TrainConfig, { stderr }: Terminal): readonly EncodedPair[] {
  const shares = sources.flatMap(({ share, pairs: rows }) => (share === undefined ? [] : [{ rows, share }]));
  const empty = shares.length === 0 ? undefined : sources.find(({ pairs }) => pairs.length === 0);
  if (empty !== undefined) {
    throw new UserError(
      `${empty.path}: expected pairs to train on, found none beside the held-out pairs. Lower eval_split.`,
    );
  }
  const mixed = shares.length === 0 ? sources.flatMap(({ pairs }) => pairs) : mixRows(shares, { mixing, seed });
  if (sources.length > 1) {
    const counts = new Map<EncodedPair, number>();
    for (const pair of mixed) counts.set(pair, (counts.get(pair) ?? 0) + 1);
    for (const { path, pairs } of sources) {
      const taken = pairs.reduce((sum, pair) => sum + (counts.get(pair) ?? 0), 0);
      stderr.write(`${path}: ${counted(pairs.length, 'pair')}; ${share(taken, mixed.length)} of an epoch\n`);
    }
  }
  return mixed;
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

/** The report of rows without a prompt of their own. */
export const describeSharedPrompts = (file: string, rows: number): string =>
  `${file}: ${count(rows)} ${rows === 1 ? 'row has' : 'rows have'} no prompt: the beginning that both answers share was taken as the ` +
  'prompt, as TRL does. If a column has the prompt, name it: columns: {prompt: …}.';

/** Takes held-out pairs at random from the others. Both parts keep the order of the file. */
function holdOut(sources: readonly Source[], { evalSplit = 0, seed }: TrainConfig) {
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
