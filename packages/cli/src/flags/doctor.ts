import { Command } from 'commander';
import type { Terminal } from '../terminal';
import { examples } from './values';

/** `wpo doctor`. */
export const doctor = (terminal: Terminal, finish: (status: number) => void): Command =>
  new Command('doctor')
    .summary('say what this machine lacks')
    .description('Prints Node, TensorFlow, devices, threads and memory, and what is wrong with a mend for each.')
    .addHelpText('after', examples(['wpo doctor']))
    .action(async () => {
      const { doctor } = await import('../commands/doctor');
      finish(await doctor(terminal));
    });
