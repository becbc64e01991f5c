// @ts-check
import { parseArgs } from 'node:util';
import { Problem } from './problem.mjs';

export const USAGE = `Usage: wpo-tensorflow install [--variant cpu|gpu] [--cache DIR] [--quiet]
       wpo-tensorflow doctor

install   puts TensorFlow 2.21 under @tensorflow/tfjs-node-gpu; safe to run again
          --variant   the CPU or the CUDA build (default: the one in place, or CUDA where an NVIDIA GPU is)
          --cache     where its library is kept (default: $XDG_CACHE_HOME/wpo or ~/.cache/wpo)
          --quiet     say nothing where there is nothing to do
doctor    says what Node, TensorFlow, devices and memory are here, and what is wrong with a mend for each`;

/**
 * Reads the command line.
 * @param {string[]} args without `node` and the script
 * @returns {{command: 'install' | 'doctor' | 'help', variant?: 'cpu' | 'gpu', cache?: string, quiet: boolean}}
 * @throws {Problem} for an unknown command, option or variant
 */
export function parseArguments(args) {
  const { values, positionals } = parse(args);
  const [command = 'help', ...rest] = positionals;
  const { variant, cache, quiet = false } = values;
  if (values.help || command === 'help') return { command: 'help', quiet };
  if (command !== 'install' && command !== 'doctor') {
    throw new Problem(`There is no command "${command}": install and doctor are.`);
  }
  if (rest.length > 0) throw new Problem(`${command} takes options only, and got "${rest.join(' ')}".`);
  if (variant !== undefined && variant !== 'cpu' && variant !== 'gpu') {
    throw new Problem(`--variant takes cpu or gpu, and got "${variant}".`);
  }
  if (cache === '') throw new Problem('--cache takes a folder, and got nothing.');
  return { command, quiet, ...(variant && { variant }), ...(cache && { cache }) };
}

/** @param {string[]} args */
function parse(args) {
  try {
    return parseArgs({
      args,
      allowPositionals: true,
      options: {
        variant: { type: 'string' },
        cache: { type: 'string' },
        quiet: { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
      },
    });
  } catch (error) {
    throw new Problem(/** @type {Error} */ (error).message, ['`wpo-tensorflow --help` lists the options']);
  }
}
