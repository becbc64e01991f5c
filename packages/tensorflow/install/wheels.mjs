// @ts-check
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { firstThatRuns, run, tail } from './command.mjs';
import { InstallError } from './errors.mjs';

/** The version of TensorFlow that is installed. */
export const TENSORFLOW = '2.21.0';

/** The CPython of the wheel. It need not be installed, because none of the wheel's Python code runs. */
const PYTHON = '3.11';

/** Architectures that TensorFlow has wheels for: Node's platform and architecture to pip's name. */
const PLATFORMS = { 'linux-x64': 'x86_64', 'linux-arm64': 'aarch64' };

/**
 * pip's platform names for a machine. TensorFlow's wheels have the first; CUDA's wheels have the others.
 * @param {string} [machine] Node's platform and architecture, e.g. `linux-x64`
 * @returns {string[] | undefined} undefined if there is no wheel for the machine
 */
export function wheelPlatforms(machine = `${process.platform}-${process.arch}`) {
  const found = PLATFORMS[/** @type {keyof typeof PLATFORMS} */ (machine)];
  return found === undefined ? undefined : ['_2_27', '_2_17', '2014'].map((glibc) => `manylinux${glibc}_${found}`);
}

/** One file per build, in pip's format. The path contains `../install`, so that it is also right from a bundle in dist. */
const REQUIREMENTS = fileURLToPath(new URL('../install/requirements', import.meta.url));

/**
 * The wheels of a build, each with its exact version and its hash. TensorFlow's is the first; CUDA's libraries follow.
 * @param {'cpu' | 'gpu'} variant
 * @param {string} [architecture] Node's name
 * @returns {string[]} in pip's format, e.g. `tensorflow-cpu==2.21.0 --hash=sha256:…`
 * @throws {InstallError} if there is no such build
 */
export function wheelRequirements(variant, architecture = process.arch) {
  // the only build for ARM has no CUDA
  if (architecture !== 'x64' && variant === 'gpu') {
    throw new InstallError(`There is no CUDA build of TensorFlow ${TENSORFLOW} for ${architecture}.`, [
      'install the CPU build with `--variant cpu`',
    ]);
  }
  const lines = readFileSync(join(REQUIREMENTS, `${variant}-${architecture}.txt`), 'utf8').split('\n');
  return lines.filter((line) => line !== '' && !line.startsWith('#'));
}

/**
 * A requirement without its hash.
 * @param {string} requirement
 */
export const withoutHash = (requirement) => /** @type {string} */ (requirement.split(' ')[0]);

/**
 * The command that runs pip.
 * @param {typeof run} [runner]
 * @returns {string[] | undefined} e.g. `['python3', '-m', 'pip']`; undefined if there is none
 */
export function findPip(runner = run) {
  const candidates = [['python3', '-m', 'pip'], ['pip3'], ['pip'], ['python', '-m', 'pip']];
  return firstThatRuns(
    candidates.map((command) => [...command, '--version']),
    runner,
  )?.slice(0, -1);
}

/**
 * Downloads one wheel without its dependencies. pip refuses a file that does not have the requirement's hash.
 * @param {string[]} pip from {@link findPip}
 * @param {string} requirement e.g. `tensorflow-cpu==2.21.0 --hash=sha256:…`
 * @param {string} folder the target
 * @param {{show?: boolean, runner?: typeof run}} [options] `show`: show pip's progress
 * @returns {string} the wheel's path
 * @throws {InstallError} with pip's output
 */
export function downloadWheel(pip, requirement, folder, { show = false, runner = run } = {}) {
  const [program, ...first] = /** @type {[string, ...string[]]} */ (pip);
  const platforms = (wheelPlatforms() ?? []).flatMap((name) => ['--platform', name]);
  const file = join(folder, 'requirement.txt'); // pip takes hashes from a file only
  writeFileSync(file, `${requirement}\n`);
  const result = runner(
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
      '--requirement',
      file,
    ],
    { show },
  );
  rmSync(file);
  const wheel = result.ok && readdirSync(folder).find((name) => name.endsWith('.whl'));
  if (wheel) return join(folder, wheel);
  const name = withoutHash(requirement);
  if (/DO NOT MATCH THE HASHES/.test(result.output)) {
    throw new InstallError(`${name}: the downloaded file is not the published one.\n${tail(result.output)}`, [
      'the download was damaged, or the package index has another file under this name: try again, or use another index',
    ]);
  }
  throw new InstallError(`pip could not download ${name}.${result.output ? `\n${tail(result.output)}` : ''}`, [
    `check that \`${pip.join(' ')} download --no-deps ${name}\` works: can it reach the package index, does it need a proxy?`,
    'pip before 20.3 does not support these wheels: `python3 -m pip install --upgrade pip`',
  ]);
}
