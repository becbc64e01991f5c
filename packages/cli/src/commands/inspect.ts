import { inspectPairs, keepGood, type MeasuredRow, measureTokens, measureWords } from '@wpo/data';
import type { HubOptions } from '@wpo/data/hub';
import { loadTokenizerFolder, readRows } from '@wpo/data/node';
import { localModel, withDownloads } from '../downloads';
import { fromInput, UserError } from '../errors';
import { formatReport, type Inspection } from '../inspect/report';
import { SkippedRows } from '../pairs';
import type { InspectConfig } from '../schemas/inspect';
import type { Terminal } from '../terminal/terminal';

/** `wpo inspect`: prints statistics of a file of pairs. Returns the exit status. */
export async function inspect(given: InspectConfig, terminal: Terminal = process): Promise<number> {
  const tokenizer = given.tokenizer ?? given.model;
  const folder = tokenizer === undefined ? undefined : await localModel(tokenizer, terminal);
  const skipped = new SkippedRows(given.file);
  const report = await fromInput(() =>
    withDownloads(terminal, (onDownload) =>
      inspectPairs(measuredRows({ ...given, onDownload }, folder, skipped), given.worst),
    ),
  );
  skipped.warn(terminal);
  if (report.pairs === 0) throw new UserError(`${given.file}: expected at least one preference pair, found none.`);
  const weights =
    given.model === undefined ? undefined : await weighSources(given, given.model, report.pairs, terminal);
  const inspection: Inspection = {
    file: given.file,
    unit: folder === undefined ? 'words' : 'tokens',
    badRows: skipped.count,
    ...report,
    ...(weights === undefined ? {} : { weights }),
  };
  terminal.stdout.write(`${given.json ? JSON.stringify(inspection) : formatReport(inspection, given)}\n`);
  return 0;
}

/** The file's rows with their lengths. Rows that cannot be read or encoded are reported and left out. */
async function* measuredRows(given: InspectConfig & HubOptions, folder: string | undefined, skipped: SkippedRows) {
  const { split, columns, onDownload } = given;
  const options = { onBadRow: 'skip', onSkip: skipped.add } as const;
  const text = folder === undefined ? undefined : await loadTokenizerFolder(folder);
  for await (const row of readRows(given.file, { ...options, split, columns, onDownload })) {
    const measured = keepGood(
      () => (text === undefined ? measureWords(row) : measureTokens(row, { ...given, ...text })),
      options,
    );
    if (measured !== undefined) yield { row, measured } satisfies MeasuredRow;
  }
}

async function weighSources(given: InspectConfig, model: string, pairs: number, terminal: Terminal) {
  const { weighBySource } = await import('../inspect/source-weights'); // loads TensorFlow
  return weighBySource({ ...given, model, pairs }, terminal);
}
