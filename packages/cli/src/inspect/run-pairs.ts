import { inspectPairs, type MeasuredRow } from '@wpo/data';
import { loadTokenizerFolder } from '@wpo/data/node';
import { localTokenizer, withDownloads } from '../downloads';
import { fromInput, UserError } from '../errors';
import { dividePairs, type PairsOf, runSources, SkippedRows } from '../pairs';
import type { InspectConfig } from '../schemas/inspect';
import { readTrainConfig, type TrainConfig } from '../schemas/train';
import type { Terminal } from '../terminal/terminal';
import { measuredRows } from './measured-rows';
import { planCommand } from './next-command';
import { type Finding, type Inspection, judged, type Verdict } from './report';

/** What a run trains on and evaluates, as `wpo inspect --json` prints it. */
export interface RunInspection {
  /** The pairs of an epoch: the sources at their shares, without held-out pairs. */
  readonly train: Inspection;
  /** The sources as they are, if there are several. */
  readonly sources: readonly Inspection[];
  /** The held-out pairs; null without any. */
  readonly held: Inspection | null;
}

type Rows = PairsOf<MeasuredRow> & { readonly skipped: SkippedRows };

/** Inspects the pairs of a run as `wpo train` takes them. All rows are in memory at the same time. */
export async function inspectRun(options: InspectConfig, terminal: Terminal): Promise<RunInspection> {
  const note = (line: string) => void terminal.stderr.write(`${line}\n`);
  const config = await readTrainConfig(options.file, options.set, note);
  const folder = await localTokenizer(config.modelNameOrPath, terminal);
  const textOptions = await fromInput(() => loadTokenizerFolder(folder));
  const { train, evaluation } = runSources(config);
  const readAll = async (sources: typeof train) => {
    const all: Rows[] = [];
    for (const source of sources) all.push(await readSource(source, config, textOptions, terminal));
    return all;
  };
  const [sources, heldSources] = [await readAll(train), await readAll(evaluation)];
  const divided = dividePairs(sources, heldSources, config);

  const inspect = async (
    file: string,
    rows: readonly MeasuredRow[],
    from: readonly Rows[],
    verdict: Partial<Verdict>,
    more: Pick<Inspection, 'epochShare'> = {},
  ) => {
    const found = {
      ...{ file, unit: 'tokens' as const },
      badRows: from.reduce((sum, { skipped }) => sum + skipped.count, 0),
      badRowErrors: from.flatMap(({ skipped }) => skipped.named),
      ...(await inspectPairs(rows, {
        ...options,
        promptFormat: config.promptFormat,
        tokenizer: textOptions.tokenizer,
      })),
      ...more,
    };
    return judged(found, config, verdict);
  };
  const parts: Inspection[] = [];
  if (sources.length > 1) {
    for (const [i, source] of sources.entries()) {
      const epochShare = divided.sources[i]!.taken / divided.train.length;
      parts.push(await inspect(source.path, source.pairs, [source], {}, { epochShare }));
    }
  }
  const next = planCommand(options);
  return {
    train: await inspect(`training pairs of ${options.file}`, divided.train, sources, { next }),
    sources: parts,
    held:
      divided.held.length === 0
        ? null
        : await inspect(`held-out pairs of ${options.file}`, divided.held, heldSources, {
            findings: trainedPrompts(divided.held, divided.train),
          }),
  };
}

async function readSource(
  { path, share, split, columns = undefined }: ReturnType<typeof runSources>['train'][number],
  config: TrainConfig,
  textOptions: Awaited<ReturnType<typeof loadTokenizerFolder>>,
  terminal: Terminal,
): Promise<Rows> {
  const skipped = new SkippedRows(path);
  const pairs: MeasuredRow[] = [];
  await fromInput(() =>
    withDownloads(terminal, async (hub) => {
      const source = { ...config, ...hub, file: path, split, columns: columns ?? config.columns };
      for await (const row of measuredRows(source, textOptions, skipped)) pairs.push(row);
    }),
  );
  skipped.warn(terminal);
  if (pairs.length === 0) throw new UserError(`${path}: expected at least one preference pair, found none.`);
  return { path, share, pairs, skipped };
}

/** Held-out pairs whose prompt is trained on too. */
function trainedPrompts(held: readonly MeasuredRow[], train: readonly MeasuredRow[]): Finding[] {
  const promptOf = ({ row }: MeasuredRow) => JSON.stringify(row.context);
  const trained = new Set(train.map(promptOf));
  const rows = held.filter((one) => trained.has(promptOf(one))).length;
  const text = 'whose prompt is trained on too, so that their metrics do not tell how the model does on new prompts';
  return rows === 0 ? [] : [{ rows, text }];
}
