// @ts-check
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, statfsSync, symlinkSync } from 'node:fs';
import { homedir, hostname } from 'node:os';
import { dirname, join } from 'node:path';
import { InstallError } from './errors.mjs';
import { makeFolders } from './make-folders.mjs';
import { downloadWheel, findPip, TENSORFLOW, wheelRequirements, withoutHash } from './wheels.mjs';
import { unzip } from './zip.mjs';

/** @typedef {'cpu' | 'gpu'} Variant */

/** The most disk space that an installation uses at any time, in bytes: the wheels and the files unpacked from them. */
export const DISK_NEEDED = { cpu: 1.6e9, gpu: 7e9 };

/**
 * The folder that all projects of a user share.
 * @param {NodeJS.ProcessEnv} [env]
 * @param {string} [home]
 */
export const defaultCache = (env = process.env, home = homedir()) =>
  join(env.XDG_CACHE_HOME || join(home, '.cache'), 'wpo');

/**
 * The folder of a runtime: `deps/lib`, `deps/include` and the compiled addons. If it exists, it is complete.
 * @param {string} cache
 * @param {Variant} variant
 */
export const runtimePath = (cache, variant) =>
  join(cache, `tensorflow-${TENSORFLOW}-${variant}${process.arch === 'x64' ? '' : `-${process.arch}`}`);

/**
 * The build in a runtime's folder.
 * @param {string} runtime
 * @returns {Variant | undefined} undefined if the folder is not one of {@link runtimePath}, e.g. of another version
 */
export const variantOf = (runtime) =>
  /** @type {const} */ (['cpu', 'gpu']).find((variant) => runtimePath(dirname(runtime), variant) === runtime);

/**
 * Unpacks TensorFlow's library and headers from its Python wheel, once for all projects of this user.
 * @param {string} cache
 * @param {Variant} variant
 * @param {{log: (line: string) => void, show?: boolean}} options
 * @returns {Promise<string>} the runtime's folder
 * @throws {InstallError} if pip, disk space or write permission is missing; nothing half-unpacked stays
 */
export async function ensureRuntime(cache, variant, { log, show = false }) {
  const runtime = runtimePath(cache, variant);
  if (existsSync(runtime)) return runtime;
  const [tensorflow, ...cuda] = wheelRequirements(variant);
  const pip = findPip();
  if (!pip) throw new InstallError('There is no pip. It is needed to download TensorFlow.', PIP_HINTS);

  const partial = makePartial(cache, runtime);
  try {
    checkDisk(cache, variant);
    const add = async (/** @type {string} */ requirement, /** @type {typeof tensorflowPath} */ place) => {
      log(`Downloading ${withoutHash(requirement)} with pip`);
      const wheel = downloadWheel(pip, requirement, makeFolder(partial, 'wheel'), { show });
      await unzip(wheel, place, join(partial, 'deps'));
      rmSync(wheel);
    };
    await add(/** @type {string} */ (tensorflow), tensorflowPath);
    linkLibraries(join(partial, 'deps', 'lib'));
    for (const requirement of cuda) await add(requirement, cudaPath);
    rmSync(join(partial, 'wheel'), { recursive: true });
    moveInPlace(partial, runtime);
  } finally {
    rmSync(partial, { recursive: true, force: true });
  }
  return runtime;
}

/** How to get pip. */
export const PIP_HINTS = ['Debian, Ubuntu: `apt-get install python3-pip`', 'elsewhere: `python3 -m ensurepip`'];

/**
 * Creates a temporary folder that {@link moveInPlace} renames once it is complete, so that a folder of the final name is
 * always complete. Temporary folders of killed installations are removed.
 * @param {string} cache
 * @param {string} target
 */
export function makePartial(cache, target) {
  const mark = `.partial-${hostname()}-`;
  try {
    makeFolders(cache);
    for (const name of readdirSync(cache)) {
      const pid = Number(name.split(mark)[1]);
      if (pid && !isAlive(pid)) rmSync(join(cache, name), { recursive: true, force: true });
    }
    const partial = `${target}${mark}${process.pid}`;
    rmSync(partial, { recursive: true, force: true });
    mkdirSync(partial);
    return partial;
  } catch (error) {
    throw new InstallError(
      `${cache} cannot be written: ${/** @type {Error} */ (error).message}`,
      ['choose another folder with `--cache DIR` or the variable XDG_CACHE_HOME'],
      error,
    );
  }
}

/** @param {number} pid */
function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return /** @type {NodeJS.ErrnoException} */ (error).code === 'EPERM';
  }
}

/**
 * Renames a complete folder to its final name. If another process was faster, its folder stays.
 * @param {string} partial
 * @param {string} target
 */
export function moveInPlace(partial, target) {
  try {
    renameSync(partial, target);
  } catch (error) {
    if (!existsSync(target)) throw error;
  }
}

/**
 * @param {string} parent
 * @param {string} name
 */
function makeFolder(parent, name) {
  const folder = join(parent, name);
  mkdirSync(folder, { recursive: true });
  return folder;
}

/**
 * @param {string} cache
 * @param {Variant} variant
 */
function checkDisk(cache, variant) {
  const { bavail, bsize } = statfsSync(cache);
  const free = bavail * bsize;
  if (free >= DISK_NEEDED[variant]) return;
  const gb = (/** @type {number} */ bytes) => `${(bytes / 1e9).toFixed(1)} GB`;
  throw new InstallError(
    `${cache}: expected at least ${gb(DISK_NEEDED[variant])} of free disk space for TensorFlow, found ${gb(free)}.`,
    ['free some disk space, or choose a folder on another disk with `--cache DIR` or the variable XDG_CACHE_HOME'],
  );
}

/**
 * The path in `deps` for a member of TensorFlow's wheel.
 * @param {string} member
 * @returns {string | undefined} undefined for a member that is not needed
 */
function tensorflowPath(member) {
  if (/^tensorflow\/libtensorflow_(cc|framework)\.so\.2$/.test(member)) return member.replace('tensorflow/', 'lib/');
  if (member.startsWith('tensorflow/include/')) return member.replace('tensorflow/', '');
  return /\.dist-info\/METADATA$/.test(member) ? 'METADATA' : undefined;
}

/**
 * The path in `deps` for a member of a wheel with CUDA libraries: TensorFlow searches the folder `nvidia` beside `lib`.
 * @param {string} member
 * @returns {string | undefined} undefined for a member that is not needed
 */
const cudaPath = (member) => (/^nvidia\/.*(\.so[.\d]*$|\/bin\/|\/nvvm\/)/.test(member) ? member : undefined);

/**
 * tfjs-node links to `libtensorflow.so`; since 2.15 its C interface is in `libtensorflow_cc.so.2`.
 * @param {string} lib
 */
function linkLibraries(lib) {
  for (const [name, target] of [
    ['libtensorflow.so', 'libtensorflow_cc.so.2'],
    ['libtensorflow_framework.so', 'libtensorflow_framework.so.2'],
  ]) {
    if (!existsSync(join(lib, /** @type {string} */ (target)))) {
      throw new InstallError(
        `TensorFlow's wheel: expected the file ${target}, found none. Is the wheel for this platform?`,
      );
    }
    symlinkSync(/** @type {string} */ (target), join(lib, /** @type {string} */ (name)));
  }
}
