// @ts-check
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { firstThatRuns, run, tail } from './command.mjs';
import { Problem } from './problem.mjs';

/** The TensorFlow that is put under tfjs-node. */
export const TENSORFLOW = '2.21.0';

/** The wheel of any CPython serves, since none of its Python code runs; this one is asked for whatever Python is here. */
const PYTHON = '3.11';

/** pip's name of the processors that TensorFlow's wheels are made for, by Node's of platform and processor. */
const PLATFORMS = { 'linux-x64': 'x86_64', 'linux-arm64': 'aarch64' };

/**
 * pip's platform names for a machine, TensorFlow's own first and then older ones that CUDA's wheels carry; undefined where
 * there is no wheel to take a library from.
 * @param {string} [machine] Node's platform and architecture, e.g. `linux-x64`
 * @returns {string[] | undefined}
 */
export function wheelPlatforms(machine = `${process.platform}-${process.arch}`) {
  const found = PLATFORMS[/** @type {keyof typeof PLATFORMS} */ (machine)];
  return found === undefined ? undefined : ['_2_27', '_2_17', '2014'].map((glibc) => `manylinux${glibc}_${found}`);
}

/**
 * What pip is asked for.
 * @param {'cpu' | 'gpu'} variant
 * @param {string} [architecture] Node's name of it
 * @returns {string}
 * @throws {Problem} where there is no such build
 */
export function tensorflowRequirement(variant, architecture = process.arch) {
  // for ARM there is one build, and that without CUDA
  if (architecture !== 'x64' && variant === 'gpu') {
    throw new Problem(`There is no CUDA build of TensorFlow ${TENSORFLOW} for ${architecture}.`, [
      'take the CPU build: `--variant cpu`',
    ]);
  }
  return `${architecture === 'x64' && variant === 'cpu' ? 'tensorflow-cpu' : 'tensorflow'}==${TENSORFLOW}`;
}

/**
 * How pip is called here.
 * @param {typeof run} [runner]
 * @returns {string[] | undefined} e.g. `['python3', '-m', 'pip']`; undefined where there is none
 */
export function findPip(runner = run) {
  const candidates = [['python3', '-m', 'pip'], ['pip3'], ['pip'], ['python', '-m', 'pip']];
  return firstThatRuns(
    candidates.map((command) => [...command, '--version']),
    runner,
  )?.slice(0, -1);
}

/**
 * Downloads one wheel, without what it depends on.
 * @param {string[]} pip from {@link findPip}
 * @param {string} requirement e.g. `tensorflow-cpu==2.21.0`
 * @param {string} folder where it goes
 * @param {{show?: boolean, runner?: typeof run}} [options] `show`: let pip draw its progress
 * @returns {string} the wheel's path
 * @throws {Problem} with pip's own words
 */
export function downloadWheel(pip, requirement, folder, { show = false, runner = run } = {}) {
  const [program, ...first] = /** @type {[string, ...string[]]} */ (pip);
  const platforms = (wheelPlatforms() ?? []).flatMap((name) => ['--platform', name]);
  const done = runner(
    program,
    [
      ...first,
      'download',
      '--disable-pip-version-check',
      '--no-deps',
      '--only-binary=:all:',
      '--implementation',
      'cp',
      '--python-version',
      PYTHON,
      ...platforms,
      '--dest',
      folder,
      ...(show ? [] : ['--quiet']),
      requirement,
    ],
    { show },
  );
  const wheel = done.ok && readdirSync(folder).find((name) => name.endsWith('.whl'));
  if (!wheel) {
    throw new Problem(`pip could not download ${requirement}.${done.output ? `\n${tail(done.output)}` : ''}`, [
      `see that \`${pip.join(' ')} download --no-deps ${requirement}\` works: is the package index reached, is a proxy needed?`,
      'pip older than 20.3 does not know these wheels: `python3 -m pip install --upgrade pip`',
    ]);
  }
  return join(folder, wheel);
}
