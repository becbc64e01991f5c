// @ts-check
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { InstallError } from './errors.mjs';
import { install } from './install.mjs';
import { TENSORFLOW } from './wheels.mjs';

const USAGE = `Usage: wpo-tensorflow install [--variant cpu|gpu] [--cache DIR] [--quiet]
       wpo-tensorflow doctor

install   installs TensorFlow 2.21 for @tensorflow/tfjs-node-gpu; safe to run again
          --variant   the CPU or the CUDA build (default: the one installed, or CUDA if there is an NVIDIA GPU)
          --cache     folder for the library (default: $XDG_CACHE_HOME/wpo or ~/.cache/wpo)
          --quiet     print nothing if TensorFlow is already installed
doctor    checks Node, TensorFlow, devices and memory, and says how to fix each problem`;

/**
 * The command `wpo-tensorflow`.
 * @param {string[]} args without `node` and the script
 * @returns {Promise<number>} the exit status
 * @throws {InstallError}
 */
export async function main(args) {
  const { command, variant, cache, quiet } = parseArguments(args);
  if (command === 'help') {
    console.log(USAGE);
    return 0;
  }
  if (command === 'doctor') return doctor();
  const result = await install({ variant, cache: cache && resolve(cache), show: process.stderr.isTTY });
  if (result.changed || !quiet) console.log(summary(result));
  return 0;
}

/**
 * Reads the command line.
 * @param {string[]} args without `node` and the script
 * @returns {{command: 'install' | 'doctor' | 'help', variant?: 'cpu' | 'gpu', cache?: string, quiet: boolean}}
 * @throws {InstallError} for an unknown command, option or variant
 */
export function parseArguments(args) {
  const { values, positionals } = parse(args);
  const [command = 'help', ...rest] = positionals;
  const { variant, cache, quiet = false } = values;
  if (values.help || command === 'help') return { command: 'help', quiet };
  if (command !== 'install' && command !== 'doctor') {
    throw new InstallError(`Unknown command: expected install or doctor, found "${command}".`);
  }
  if (rest.length > 0) throw new InstallError(`${command}: expected only options, found "${rest.join(' ')}".`);
  if (variant !== undefined && variant !== 'cpu' && variant !== 'gpu') {
    throw new InstallError(`--variant: expected cpu or gpu, found "${variant}".`);
  }
  if (cache === '') throw new InstallError('--cache: expected a folder, found nothing.');
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
    throw new InstallError(/** @type {Error} */ (error).message, ['`wpo-tensorflow --help` lists the options']);
  }
}

/** @param {Awaited<ReturnType<typeof install>>} result */
function summary({ variant, runtime, folder }) {
  return runtime
    ? `TensorFlow ${TENSORFLOW} (${variant === 'gpu' ? 'CUDA' : 'CPU'}) is installed: ${runtime}`
    : `The TensorFlow of tfjs-node-gpu's own installer is installed: ${folder}`;
}

async function doctor() {
  const { doctor, formatDoctor } = await import('../dist/doctor.js').catch((error) => {
    throw new InstallError(
      `The doctor cannot be loaded: ${error.message}`,
      ['in a clone of the repository: `npm run setup`'],
      error,
    );
  });
  const report = await doctor();
  console.log(formatDoctor(report));
  return report.ok ? 0 : 1;
}
