import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { ensureAddon } from './addon.mjs';
import { run, tail } from './command.mjs';
import { layOut, linkedRuntime } from './layout.mjs';
import { ensurePackage, runOwnInstaller } from './package.mjs';
import { Problem } from './problem.mjs';
import { defaultCache, ensureRuntime, PIP_MENDS, runtimePath } from './runtime.mjs';
import { findPip, TENSORFLOW, wheelPlatforms } from './wheels.mjs';

/**
 * Puts TensorFlow 2.21 under tfjs-node-gpu: the library out of TensorFlow's Python wheel, kept once for all of a user's
 * projects, and tfjs-node's own addon built against it. Safe to run again, and then instant.
 * @param {object} [options]
 * @param {'cpu' | 'gpu'} [options.variant] left out: the one that is in place, or else the one this machine can use
 * @param {string} [options.cache] where the runtime is kept
 * @param {(line: string) => void} [options.log] a line for each thing that takes time
 * @param {boolean} [options.show] let pip draw its progress on stderr
 * @returns {Promise<{changed: boolean, variant: 'cpu' | 'gpu', runtime: string | undefined, folder: string}>} `runtime` is
 *   undefined where tfjs-node-gpu's own installer had to do
 * @throws {Problem} saying what is missing and how to mend it; what was in place before still is
 */
export async function install({ variant, cache = defaultCache(), log = console.error, show = false } = {}) {
  const folder = ensurePackage({ log });
  const chosen = variant ?? placedVariant(folder, cache) ?? (hasNvidia() ? 'gpu' : 'cpu');
  if (!existsSync(runtimePath(cache, chosen))) {
    const reason = whyNoWheel();
    if (reason) return fallBack(folder, chosen, reason, log);
  }
  const runtime = await ensureRuntime(cache, chosen, { log, show });
  const addon = ensureAddon(folder, runtime, { log });
  const changed = layOut(folder, runtime, addon);
  if (changed) tryAddon(join(folder, 'lib', 'napi-v8', 'tfjs_binding.node'));
  return { changed, variant: chosen, runtime, folder };
}

/**
 * Whether an NVIDIA GPU is here.
 * @param {typeof run} [runner]
 */
export function hasNvidia(runner = run) {
  return existsSync('/dev/nvidia0') || runner('nvidia-smi', ['-L']).ok;
}

/**
 * @param {string} folder
 * @param {string} cache
 */
function placedVariant(folder, cache) {
  const runtime = linkedRuntime(folder);
  return /** @type {const} */ (['cpu', 'gpu']).find((variant) => runtimePath(cache, variant) === runtime);
}

function whyNoWheel() {
  const machine = `${process.platform}-${process.arch}`;
  if (!wheelPlatforms(machine))
    return { text: `TensorFlow ${TENSORFLOW} is not put together on ${machine}.`, mends: [] };
  if (!findPip()) return { text: `There is no pip here to download TensorFlow ${TENSORFLOW} with.`, mends: PIP_MENDS };
  return undefined;
}

/**
 * @param {string} folder
 * @param {'cpu' | 'gpu'} variant
 * @param {{text: string, mends: string[]}} reason
 * @param {(line: string) => void} log
 */
function fallBack(folder, variant, { text, mends }, log) {
  const changed = !existsSync(join(folder, 'lib', 'napi-v8', 'tfjs_binding.node'));
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
 * Loads the addon in a process of its own, so that a library this machine cannot load is found here and not in training.
 * @param {string} addon
 */
function tryAddon(addon) {
  const env = { ...process.env, TF_CPP_MIN_LOG_LEVEL: '2' };
  const done = run(process.execPath, ['-e', `require(${JSON.stringify(addon)})`], { env });
  if (done.ok) return;
  throw new Problem(`TensorFlow ${TENSORFLOW} is in place but cannot be loaded here:\n${tail(done.output)}`, [
    'its wheels need glibc 2.27 or later (`ldd --version`) and an x86-64 processor with AVX, or a 64-bit ARM one',
  ]);
}
