// @ts-check
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { addonPath, ensureAddon, requireCompiler } from './addon.mjs';
import { run, tail } from './command.mjs';
import { InstallError } from './errors.mjs';
import { ensurePackage, isLinked, linkedRuntime, linkRuntime, runOwnInstaller } from './package.mjs';
import { defaultCache, ensureRuntime, PIP_HINTS, runtimePath, variantOf } from './runtime.mjs';
import { checkSystem } from './supported.mjs';
import { findPip, TENSORFLOW } from './wheels.mjs';

/** @typedef {import('./runtime.mjs').Variant} Variant */

/**
 * Installs TensorFlow 2.21 for tfjs-node-gpu: the library from TensorFlow's Python wheel, which all projects of a user
 * share, and tfjs-node's own addon, compiled against it. It is safe to run again and then takes a fraction of a second.
 * @param {object} [options]
 * @param {Variant} [options.variant] default: the installed one, or CUDA if there is an NVIDIA GPU
 * @param {string} [options.cache] folder of the runtime; default: that of the installed one, or the user's cache folder
 * @param {string} [options.folder] tfjs-node-gpu's folder; default: the one that this package resolves
 * @param {(line: string) => void} [options.log] receives a line for each step that takes time
 * @param {boolean} [options.show] show pip's progress on stderr
 * @returns {Promise<{changed: boolean, variant: Variant, runtime: string | undefined, folder: string}>} `runtime` is
 *   undefined if tfjs-node-gpu's own installer was used
 * @throws {InstallError} that names the missing part and how to get it; an earlier installation stays intact
 */
export async function install({ variant, cache, folder: given, log = console.error, show = false } = {}) {
  checkSystem();
  const folder = given ?? ensurePackage({ log });
  const installed = linkedRuntime(folder);
  const installedVariant = installed === undefined ? undefined : variantOf(installed);
  const chosen = variant ?? installedVariant ?? (hasGpu() ? 'gpu' : 'cpu');
  const home = cache ?? (installed && installedVariant ? dirname(installed) : defaultCache());

  if (!existsSync(runtimePath(home, chosen))) {
    const reason = whyNoWheel();
    if (reason) return fallBack(folder, chosen, reason, log);
    requireCompiler(); // before the download
  }
  const runtime = await ensureRuntime(home, chosen, { log, show });
  const addon = await ensureAddon(folder, runtime, { log });
  const changed = !isLinked(folder, runtime, addon);
  if (changed) {
    checkLoads(addonPath(addon));
    linkRuntime(folder, runtime, addon);
  }
  return { changed, variant: chosen, runtime, folder };
}

/** Whether there is a GPU that a build of TensorFlow can use. */
function hasGpu() {
  return process.arch === 'x64' && (existsSync('/dev/nvidia0') || run('nvidia-smi', ['-L']).ok);
}

/** Why TensorFlow's wheel cannot be used; undefined if it can. */
function whyNoWheel() {
  if (!findPip())
    return { text: `There is no pip. It is needed to download TensorFlow ${TENSORFLOW}.`, hints: PIP_HINTS };
  return undefined;
}

/**
 * @param {string} folder
 * @param {Variant} variant
 * @param {{text: string, hints: string[]}} reason
 * @param {(line: string) => void} log
 */
function fallBack(folder, variant, { text, hints }, log) {
  const changed = !existsSync(addonPath(join(folder, 'lib')));
  if (changed) {
    log(`Warning: ${text} Using tfjs-node-gpu's own installer, which has TensorFlow 2.9.1 from 2022.`);
    try {
      runOwnInstaller(folder, variant);
    } catch (error) {
      throw new InstallError(`${text} ${/** @type {Error} */ (error).message}`, hints, error);
    }
  }
  return { changed, variant, runtime: undefined, folder };
}

/**
 * Loads the addon in another process, so that a library that this machine cannot load fails now and not in training.
 * @param {string} addon
 */
function checkLoads(addon) {
  const env = { ...process.env, TF_CPP_MIN_LOG_LEVEL: '2' };
  const result = run(process.execPath, ['-e', `require(${JSON.stringify(addon)})`], { env });
  if (result.ok) return;
  throw new InstallError(`TensorFlow ${TENSORFLOW} cannot be loaded on this machine:\n${tail(result.output)}`, [
    'TensorFlow needs glibc 2.27 or later (`ldd --version`) and an x86-64 CPU with AVX, or a 64-bit ARM CPU',
  ]);
}
