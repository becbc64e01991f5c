import { localModel, localTokenizer, withDownloads } from '../downloads';
import { fromInput, UserError } from '../errors';
import { inspectRows } from '../inspect/measured-rows';
import { formatReport, type Inspection } from '../inspect/report';
import { SkippedRows } from '../pairs';
import { checkFlags } from '../schemas/flags';
import { type InspectConfig, inspectSchema } from '../schemas/inspect';
import { processTerminal, type Terminal } from '../terminal/terminal';

/** `wpo inspect`: prints statistics of a file of pairs. Returns the exit status. */
export async function inspect(config: InspectConfig, terminal: Terminal = processTerminal()): Promise<number> {
  checkFlags(inspectSchema, config);
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
  const inspection: Inspection = {
    file: config.file,
    unit: folder === undefined ? 'words' : 'tokens',
    badRows: skipped.count,
    ...report,
    ...(weights === undefined ? {} : { weights }),
  };
  terminal.stdout.write(`${config.json ? JSON.stringify(inspection) : formatReport(inspection, config)}\n`);
  return 0;
}

async function weighSources(config: InspectConfig, model: string, pairs: number, terminal: Terminal) {
  const { weighBySource } = await import('../inspect/source-weights'); // loads TensorFlow
  return weighBySource({ ...config, model, pairs }, terminal);
}
