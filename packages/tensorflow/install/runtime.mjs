// @ts-check
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statfsSync, symlinkSync } from 'node:fs';
import { homedir, hostname } from 'node:os';
import { dirname, join } from 'node:path';
import { Problem } from './problem.mjs';
import { downloadWheel, findPip, TENSORFLOW, tensorflowRequirement } from './wheels.mjs';
import { unzip } from './zip.mjs';

/** @typedef {'cpu' | 'gpu'} Variant */

/** Disk space an installation needs at its peak, in bytes: the wheels, and what is unpacked from them. */
export const DISK_NEEDED = { cpu: 1.6e9, gpu: 7e9 };

/**
 * The folder shared by all of a user's projects.
 * @param {NodeJS.ProcessEnv} [env]
 * @param {string} [home]
 */
export const defaultCache = (env = process.env, home = homedir()) =>
  join(env.XDG_CACHE_HOME || join(home, '.cache'), 'wpo');

/**
 * Where a runtime lies: `deps/lib`, `deps/include` and the built addons. It is whole if it is there.
 * @param {string} cache
 * @param {Variant} variant
 */
export const runtimePath = (cache, variant) =>
  join(cache, `tensorflow-${TENSORFLOW}-${variant}${process.arch === 'x64' ? '' : `-${process.arch}`}`);

/**
 * Which build a runtime's folder holds.
 * @param {string} runtime
 * @returns {Variant | undefined} undefined where the folder is none of {@link runtimePath}'s, such as another version's
 */
export const variantOf = (runtime) =>
  /** @type {const} */ (['cpu', 'gpu']).find((variant) => runtimePath(dirname(runtime), variant) === runtime);

/**
 * Unpacks TensorFlow's library and headers out of its Python wheel, once for all projects of this user.
 * @param {string} cache
 * @param {Variant} variant
 * @param {{log: (line: string) => void, show?: boolean}} options
 * @returns {Promise<string>} the runtime's folder
 * @throws {Problem} where pip, disk space or the right to write is missing; nothing half-unpacked is left behind
 */
export async function ensureRuntime(cache, variant, { log, show = false }) {
  const runtime = runtimePath(cache, variant);
  if (existsSync(runtime)) return runtime;
  const requirement = tensorflowRequirement(variant);
  const pip = findPip();
  if (!pip) throw new Problem('There is no pip here to download TensorFlow with.', PIP_MENDS);

  const partial = makePartial(cache, runtime);
  try {
    checkDisk(cache, variant);
    log(`Downloading ${requirement} with pip`);
    const wheel = downloadWheel(pip, requirement, makeFolder(partial, 'wheel'), { show });
    log('Unpacking its library and headers');
    await unzip(wheel, placeTensorflow, join(partial, 'deps'));
    nameLibraries(join(partial, 'deps', 'lib'), wheel);
    rmSync(wheel);
    if (variant === 'gpu') await addCuda(pip, partial, { log, show });
    rmSync(join(partial, 'wheel'), { recursive: true });
    moveInPlace(partial, runtime);
  } finally {
    rmSync(partial, { recursive: true, force: true });
  }
  return runtime;
}

/** What to do where pip is missing. */
export const PIP_MENDS = ['Debian, Ubuntu: `apt-get install python3-pip`', 'elsewhere: `python3 -m ensurepip`'];

/**
 * A folder's temporary twin: renamed to the folder once it is whole, so that what has the name is whole.
 * @param {string} cache
 * @param {string} target
 */
export function makePartial(cache, target) {
  const mark = `.partial-${hostname()}-`;
  try {
    mkdirSync(cache, { recursive: true });
    for (const name of readdirSync(cache)) {
      const pid = Number(name.split(mark)[1]);
      // left by an installation that was killed
      if (pid && !isAlive(pid)) rmSync(join(cache, name), { recursive: true, force: true });
    }
    const partial = `${target}${mark}${process.pid}`;
    rmSync(partial, { recursive: true, force: true });
    mkdirSync(partial);
    return partial;
  } catch (error) {
    throw new Problem(
      `${cache} cannot be written to: ${/** @type {Error} */ (error).message}`,
      ['choose another folder: `--cache DIR`, or the variable XDG_CACHE_HOME'],
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
 * Gives a finished folder its name; where another process was first, its folder stays.
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
  throw new Problem(
    `${cache} has ${gb(free)} of disk left, and unpacking TensorFlow takes ${gb(DISK_NEEDED[variant])}.`,
    ['free some, or choose a folder on another disk: `--cache DIR`, or the variable XDG_CACHE_HOME'],
  );
}

/** @param {string} member */
function placeTensorflow(member) {
  if (/^tensorflow\/libtensorflow_(cc|framework)\.so\.2$/.test(member)) return member.replace('tensorflow/', 'lib/');
  if (member.startsWith('tensorflow/include/')) return member.replace('tensorflow/', '');
  return /\.dist-info\/METADATA$/.test(member) ? 'METADATA' : undefined;
}

/**
 * tfjs-node's build asks for `libtensorflow.so`; since 2.15 the C interface lies in `libtensorflow_cc.so.2`.
 * @param {string} lib
 * @param {string} wheel
 */
function nameLibraries(lib, wheel) {
  for (const [name, target] of [
    ['libtensorflow.so', 'libtensorflow_cc.so.2'],
    ['libtensorflow_framework.so', 'libtensorflow_framework.so.2'],
  ]) {
    if (!existsSync(join(lib, /** @type {string} */ (target)))) {
      throw new Problem(`${wheel} holds no ${target}: is it a wheel for this platform?`);
    }
    symlinkSync(/** @type {string} */ (target), join(lib, /** @type {string} */ (name)));
  }
}

/**
 * CUDA's libraries, at the versions the wheel was built for, where its own search path expects them: `nvidia` beside `lib`.
 * @param {string[]} pip
 * @param {string} partial
 * @param {{log: (line: string) => void, show: boolean}} options
 */
async function addCuda(pip, partial, { log, show }) {
  const metadata = readFileSync(join(partial, 'deps', 'METADATA'), 'utf8');
  for (const requirement of cudaRequirements(metadata)) {
    log(`Downloading ${requirement} with pip`);
    const wheel = downloadWheel(pip, requirement, makeFolder(partial, 'wheel'), { show });
    await unzip(
      wheel,
      (member) => (/^nvidia\/.*(\.so[.\d]*$|\/bin\/|\/nvvm\/)/.test(member) ? member : undefined),
      join(partial, 'deps'),
    );
    rmSync(wheel);
  }
}

/**
 * The requirements a wheel's METADATA lists under the extra `and-cuda`.
 * @param {string} metadata
 * @returns {string[]} as pip takes them, e.g. `nvidia-cublas-cu12<13.0,>=12.5.3.2`
 */
export function cudaRequirements(metadata) {
  return [...metadata.matchAll(/^Requires-Dist: *([^;\n]+);.*extra *== *['"]and-cuda['"]/gm)].map((found) =>
    /** @type {string} */ (found[1]).replace(/[\s()]/g, ''),
  );
}
