// @ts-check
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { addonPath, COMPILER_MENDS, ensureAddon, findCompiler } from './addon.mjs';
import { run, tail } from './command.mjs';
import { isLaidOut, layOut, linkedRuntime } from './layout.mjs';
import { ensurePackage, runOwnInstaller } from './package.mjs';
import { Problem } from './problem.mjs';
import { defaultCache, ensureRuntime, PIP_MENDS, runtimePath, variantOf } from './runtime.mjs';
import { findPip, TENSORFLOW, wheelPlatforms } from './wheels.mjs';

/** @typedef {import('./runtime.mjs').Variant} Variant */

/**
 * Puts TensorFlow 2.21 under tfjs-node-gpu: the library out of TensorFlow's Python wheel, kept once for all of a user's
 * projects, and tfjs-node's own addon built against it. Safe to run again, and then instant.
 * @param {object} [options]
 * @param {Variant} [options.variant] left out: the one in place, or else CUDA's where an NVIDIA GPU is
 * @param {string} [options.cache] where the runtime is kept; left out: where the one in place is, or the user's cache folder
 * @param {string} [options.folder] tfjs-node-gpu's package folder; left out: the one this package sees
 * @param {(line: string) => void} [options.log] a line for each thing that takes time
 * @param {boolean} [options.show] let pip draw its progress on stderr
 * @returns {Promise<{changed: boolean, variant: Variant, runtime: string | undefined, folder: string}>} `runtime` is
 *   undefined where tfjs-node-gpu's own installer had to do
 * @throws {Problem} saying what is missing and how to mend it; what was in place before still is
 */
export async function install({ variant, cache, folder: given, log = console.error, show = false } = {}) {
  const folder = given ?? ensurePackage({ log });
  const placed = linkedRuntime(folder);
  const placedVariant = placed === undefined ? undefined : variantOf(placed);
  const chosen = variant ?? placedVariant ?? (hasGpu() ? 'gpu' : 'cpu');
  const home = cache ?? (placed && placedVariant ? dirname(placed) : defaultCache());

  if (!existsSync(runtimePath(home, chosen))) {
    const reason = whyNoWheel();
    if (reason) return fallBack(folder, chosen, reason, log);
    // found out now, and not after the download
    if (!findCompiler())
      throw new Problem("There is no C++ compiler here to build tfjs-node's addon with.", COMPILER_MENDS);
  }
  const runtime = await ensureRuntime(home, chosen, { log, show });
  const addon = ensureAddon(folder, runtime, { log });
  const changed = !isLaidOut(folder, runtime, addon);
  if (changed) {
    checkLoads(addonPath(addon));
    layOut(folder, runtime, addon);
  }
  return { changed, variant: chosen, runtime, folder };
}

/** Whether a GPU is here that a build of TensorFlow can use. */
function hasGpu() {
  return process.arch === 'x64' && (existsSync('/dev/nvidia0') || run('nvidia-smi', ['-L']).ok);
}

function whyNoWheel() {
  const machine = `${process.platform}-${process.arch}`;
  if (!wheelPlatforms(machine)) {
    return { text: `TensorFlow ${TENSORFLOW} is put together on Linux only, and this is ${machine}.`, mends: [] };
  }
  if (!findPip()) return { text: `There is no pip here to download TensorFlow ${TENSORFLOW} with.`, mends: PIP_MENDS };
  return undefined;
}

/**
 * @param {string} folder
 * @param {Variant} variant
 * @param {{text: string, mends: string[]}} reason
 * @param {(line: string) => void} log
 */
function fallBack(folder, variant, { text, mends }, log) {
  const changed = !existsSync(addonPath(join(folder, 'lib')));
  if (changed) {
    log(`Warning: ${text} Falling back on tfjs-node-gpu's own installer, whose TensorFlow is 2.9.1 of 2022.`);
    try {
      runOwnInstaller(folder, variant);
    } catch (error) {
      throw new Problem(`${text} ${/** @type {Error} */ (error).message}`, mends, error);
    }
  }
  return { changed, variant, runtime: undefined, folder };
}

/**
 * Finds a library that this machine cannot load here, and not in training.
 * @param {string} addon
 */
function checkLoads(addon) {
  const env = { ...process.env, TF_CPP_MIN_LOG_LEVEL: '2' };
  const done = run(process.execPath, ['-e', `require(${JSON.stringify(addon)})`], { env });
  if (done.ok) return;
  throw new Problem(`TensorFlow ${TENSORFLOW} cannot be loaded on this machine:\n${tail(done.output)}`, [
    'its wheels need glibc 2.27 or later (`ldd --version`), and an x86-64 processor with AVX or a 64-bit ARM one',
  ]);
}
