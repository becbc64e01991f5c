import { dirname, resolve } from 'node:path';
import { makeFolder } from '@wpo/internal/node/files';
import { inspectionPage } from '@wpo/report';
import { localModel, localTokenizer, withDownloads } from '../downloads';
import { fromInput, UserError } from '../errors';
import { writeWholeFile } from '../files';
import { inspectRows } from '../inspect/measured-rows';
import { nextCommand } from '../inspect/next-command';
import { formatReport, type InspectedPairs, type Inspection, judged } from '../inspect/report';
import { inspectRun } from '../inspect/run-pairs';
import { SkippedRows } from '../pairs';
import { checkFlags } from '../schemas/flags';
import { type InspectConfig, inspectSchema, isRunFile } from '../schemas/inspect';
import { processTerminal, type Terminal } from '../terminal/terminal';

/** `wpo inspect`: prints statistics of a file of pairs, or of the pairs of a run. Returns the exit status. */
export async function inspect(config: InspectConfig, terminal: Terminal = processTerminal()): Promise<number> {
  checkFlags(inspectSchema, config);
  const result = isRunFile(config.file) ? await inspectRun(config, terminal) : await inspectFile(config, terminal);
  const parts = 'train' in result ? [...result.sources, ...(result.held ? [result.held] : []), result.train] : [result];
  if (config.html !== undefined) await writeInspectionPage(config.html, parts.toReversed());
  terminal.stdout.write(`${config.json ? JSON.stringify(result) : parts.map(formatReport).join(SEPARATOR)}\n`);
  if (config.html !== undefined) terminal.stderr.write(`Page: ${config.html}\n`);
  return 0;
}

/** Between the parts of a run's pairs. */
const SEPARATOR = `\n\n${'─'.repeat(80)}\n\n`;

async function inspectFile(config: InspectConfig, terminal: Terminal): Promise<Inspection> {
  const folder =
    config.tokenizer !== undefined
      ? await localTokenizer(config.tokenizer, terminal)
      : config.model !== undefined
        ? await localModel(config.model, terminal)
        : undefined;
  const skipped = new SkippedRows(config.file);
  const report = await fromInput(() =>
    withDownloads(terminal, (hub) => inspectRows({ ...config, ...hub }, folder, skipped)),
  );
  skipped.warn(terminal);
  if (report.pairs === 0) throw new UserError(`${config.file}: expected at least one preference pair, found none.`);
  const weights =
    config.model === undefined ? undefined : await weighSources(config, config.model, report.pairs, terminal);
  const found: InspectedPairs = {
    file: config.file,
    unit: folder === undefined ? 'words' : 'tokens',
    badRows: skipped.count,
    badRowErrors: skipped.named,
    ...report,
    ...(weights === undefined ? {} : { weights }),
  };
  return judged(found, config, { next: nextCommand(config) });
}

async function writeInspectionPage(path: string, inspections: readonly Inspection[]): Promise<void> {
  await makeFolder(dirname(resolve(path)));
  await writeWholeFile(path, (append) => append(inspectionPage(inspections)));
}

async function weighSources(config: InspectConfig, model: string, pairs: number, terminal: Terminal) {
  const { weighBySource } = await import('../inspect/source-weights'); // loads TensorFlow
  return weighBySource({ ...config, model, pairs }, terminal);
}
