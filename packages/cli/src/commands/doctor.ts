import { doctor as examine, formatDoctor } from '@wpo/tensorflow/doctor';
import { processTerminal, type Terminal } from '../terminal/terminal';

/** `wpo doctor`: reports what this machine has, and how to fix each problem. Returns 1 if there is a problem. */
export async function doctor(terminal: Terminal = processTerminal()): Promise<number> {
  const report = await examine();
  terminal.stdout.write(`${formatDoctor(report)}\n`);
  return report.ok ? 0 : 1;
}
