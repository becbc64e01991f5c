import { preferencePairLoss } from '@wpo/trainer';
import { loadBackend } from '../models';
import { readRunPairs } from '../pairs';
import { lossOptions } from '../schemas/loss';
import type { PlanConfig } from '../schemas/plan';
import { readTrainConfig } from '../schemas/train';
import { processTerminal, type Terminal } from '../terminal/terminal';
import { findFittingSettings, formatFitting } from '../training/fitting-settings';
import { plannedMachine } from '../training/machine-memory';
import { describeShortage } from '../training/memory-check';
import { formatReport, reportJson, reportMemory } from '../training/memory-report';
import { formatTime, planTime, timeJson } from '../training/time-plan';
import { withLocalModels } from './train';

/** `wpo plan`: prints the memory and the time that a training run takes. Returns the exit status: 0 if it fits, else 1. */
export async function plan(options: PlanConfig, terminal: Terminal = processTerminal()): Promise<number> {
  const note = (line: string) => void terminal.stderr.write(`${line}\n`);
  const config = await withLocalModels(await readTrainConfig(options.config, options.set, note), terminal);
  const pairs = await readRunPairs(config, terminal);
  const backend = await loadBackend(config);
  const loss = preferencePairLoss(lossOptions(config));
  const run = { config, processes: config.numProcesses ?? 1, loss, pairs, storage: backend.storage };
  const machine = plannedMachine(backend, options);
  const report = await reportMemory(run, machine);
  const fitting = report.fits ? [] : await findFittingSettings(run, machine);
  const isThisMachine = options.deviceMemory === undefined && options.hostMemory === undefined;
  const time = options.time && report.fits && isThisMachine ? await planTime(run, backend, report.plan) : undefined;
  if (options.json) {
    terminal.stdout.write(`${JSON.stringify({ ...reportJson(report, machine, fitting), time: timeJson(time) })}\n`);
    return report.fits ? 0 : 1;
  }
  const verdict = report.fits
    ? 'It fits.'
    : `It does not fit: ${describeShortage(report, machine)}.\n${formatFitting(fitting, machine)}`;
  const parts = [formatReport(report, machine, config), verdict, time && formatTime(time)];
  terminal.stdout.write(`${parts.filter(Boolean).join('\n\n')}\n`);
  return report.fits ? 0 : 1;
}
