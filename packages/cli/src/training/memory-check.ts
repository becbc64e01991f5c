import { UserError } from '../errors';
import { isCheckOff, MEMORY_CHECK, slowWeights } from '../memory';
import type { Terminal } from '../terminal/terminal';
import { findFittingSettings, formatFitting } from './fitting-settings';
import type { MachineMemory } from './machine-memory';
import type { PlannedRun } from './memory-plan';
import { formatReport, inGb, type MemoryReport, reportMemory } from './memory-report';

/**
 * Checks that a run fits in memory, before its models are read. Warns of weights in mapped files that do not fit beside it.
 *
 * @throws {UserError} with the table, and settings with which the run fits
 */
export async function checkRunMemory(
  run: PlannedRun,
  machine: MachineMemory | undefined,
  { stderr }: Terminal,
): Promise<void> {
  if (machine === undefined) return;
  const report = await reportMemory(run, machine);
  if (report.fits) {
    const { mapped } = report.plan;
    const left = machine.host.bytes - report.needed.host;
    if (mapped > left) stderr.write(`${slowWeights(run.config.modelNameOrPath, mapped, left)}\n`);
    return;
  }
  const shortage = `This run does not fit in memory: ${describeShortage(report, machine)}.`;
  if (isCheckOff()) {
    stderr.write(`${shortage} Continuing, because ${MEMORY_CHECK} is 0.\n`);
    return;
  }
  const fitting = await findFittingSettings(run, machine);
  throw new UserError(
    `${shortage}\n${formatReport(report, machine, run.config)}\n${formatFitting(fitting, machine)}\n${MEMORY_CHECK}=0 starts anyway.`,
  );
}

/** The memory that is too small, for a message. */
export function describeShortage({ needed }: MemoryReport, { host, device }: MachineMemory): string {
  const [need, place] = device && needed.device > device.bytes ? [needed.device, device] : [needed.host, host];
  return `expected ${inGb(need)} GB of memory, found ${inGb(place.bytes)} GB (${place.whose})`;
}
