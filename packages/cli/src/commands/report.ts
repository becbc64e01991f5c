import { dirname, resolve } from 'node:path';
import { makeFolder } from '@wpo/internal/node/files';
import { type RunReport, runReport } from '@wpo/report';
import { readRun } from '../report/read-run';
import { writePage } from '../report/write-report';
import type { ReportConfig } from '../schemas/report';
import { counted } from '../terminal/format';
import { processTerminal, type Terminal } from '../terminal/terminal';

/** `wpo report`: writes the report of a run, or a page that compares several. Returns the exit status. */
export async function report(config: ReportConfig, terminal: Terminal = processTerminal()): Promise<number> {
  const runs: RunReport[] = [];
  let out = config.out ?? 'report.html';
  for (const path of config.runs) {
    const { run, folder } = await readRun(path);
    const name = config.runs.length > 1 && isRepeated(path, config.runs) ? path : run.name;
    runs.push(runReport({ ...run, name }));
    if (config.runs.length === 1) out = config.out ?? folder.report;
  }
  await makeFolder(dirname(resolve(out)));
  await writePage(out, runs);
  terminal.stdout.write(`Report of ${counted(runs.length, 'run')}: ${out}\n`);
  return 0;
}

/** Whether another run's folder has the same name. */
const isRepeated = (path: string, all: readonly string[]) => {
  const nameOf = (one: string) => resolve(one).split('/').at(-1);
  return all.filter((one) => nameOf(one) === nameOf(path)).length > 1;
};
