// @ts-check
import { resolve } from 'node:path';
import { parseArguments, USAGE } from './arguments.mjs';
import { install } from './install.mjs';
import { Problem } from './problem.mjs';
import { TENSORFLOW } from './wheels.mjs';

/**
 * The command `wpo-tensorflow`.
 * @param {string[]} args without `node` and the script
 * @returns {Promise<number>} the exit status
 * @throws {Problem}
 */
export async function main(args) {
  const { command, variant, cache, quiet } = parseArguments(args);
  if (command === 'help') {
    console.log(USAGE);
    return 0;
  }
  if (command === 'doctor') return doctor();
  const done = await install({ variant, cache: cache && resolve(cache), show: process.stderr.isTTY });
  if (done.changed || !quiet) console.log(placed(done));
  return 0;
}

/** @param {Awaited<ReturnType<typeof install>>} done */
function placed({ variant, runtime, folder }) {
  return runtime
    ? `TensorFlow ${TENSORFLOW} (${variant === 'gpu' ? 'CUDA' : 'CPU'}) is in place: ${runtime}`
    : `The TensorFlow of tfjs-node-gpu's own installer is in place: ${folder}`;
}

async function doctor() {
  const { doctor, formatDoctor } = await import('../dist/doctor.js').catch((error) => {
    throw new Problem(
      `The doctor cannot be loaded: ${error.message}`,
      ['in a clone of the repository: `npm run setup`'],
      error,
    );
  });
  const report = await doctor();
  console.log(formatDoctor(report));
  return report.ok ? 0 : 1;
}
