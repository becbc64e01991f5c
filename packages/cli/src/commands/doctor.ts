import { doctor as examine, formatDoctor } from '@wpo/tensorflow/doctor';
import type { Terminal } from '../terminal';

/** `wpo doctor`: what this machine has, and what is wrong with a mend for each. Returns 1 where something is. */
export async function doctor(terminal: Terminal = process): Promise<number> {
  const report = await examine();
  terminal.stdout.write(`${formatDoctor(report)}\n`);
  return report.ok ? 0 : 1;
}
