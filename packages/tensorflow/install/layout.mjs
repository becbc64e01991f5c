// @ts-check
import { lstatSync, readlinkSync, realpathSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';

/**
 * What lies in tfjs-node-gpu's package folder.
 * @param {string} folder the package's folder
 * @returns {{deps?: string, lib?: string}} where its two links lead; undefined where it is not a link of ours
 */
export function readLayout(folder) {
  const lead = (/** @type {string} */ name) => {
    try {
      return readlinkSync(join(folder, name));
    } catch {
      return undefined;
    }
  };
  return { deps: lead('deps'), lib: lead('lib') };
}

/**
 * Whether a runtime and its addon are what a package folder leads to.
 * @param {string} folder the package's folder
 * @param {string} runtime
 * @param {string} addon
 */
export function isLaidOut(folder, runtime, addon) {
  const { deps, lib } = readLayout(folder);
  return deps === join(runtime, 'deps') && lib === addon;
}

/**
 * Links a runtime and its addon into tfjs-node-gpu's package folder, where its loader looks: `deps` and `lib`. Each link is
 * made aside and renamed, so the package is never without one; a folder of that name, laid by another installer, gives way.
 * No file of the package is written to: a package manager may share it between projects.
 * @param {string} folder the package's folder
 * @param {string} runtime holds `deps/lib` and `deps/include`
 * @param {string} addon holds `napi-v8/tfjs_binding.node`
 */
export function layOut(folder, runtime, addon) {
  replaceByLink(join(folder, 'deps'), join(runtime, 'deps'));
  replaceByLink(join(folder, 'lib'), addon);
}

/**
 * @param {string} path
 * @param {string} target
 */
function replaceByLink(path, target) {
  const link = `${path}.new-${process.pid}`;
  const old = `${path}.old-${process.pid}`;
  symlinkSync(target, link);
  if (isFolder(path)) {
    renameSync(path, old);
    renameSync(link, path);
    rmSync(old, { recursive: true });
  } else {
    renameSync(link, path);
  }
}

/** @param {string} path */
function isFolder(path) {
  return lstatSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

/**
 * The runtime behind a laid-out package, or undefined where there is none or its files are gone.
 * @param {string} folder the package's folder
 * @returns {string | undefined}
 */
export function linkedRuntime(folder) {
  try {
    return dirname(dirname(dirname(realpathSync(join(folder, 'lib', 'napi-v8', 'tfjs_binding.node')))));
  } catch {
    return undefined;
  }
}
