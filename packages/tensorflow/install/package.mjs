// @ts-check
import {
  copyFileSync,
  existsSync,
  lstatSync,
  readlinkSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { run, tail } from './command.mjs';
import { InstallError } from './errors.mjs';

// The npm package that a current TensorFlow is linked into. It works without a GPU too: its addon is that of tfjs-node.
const PACKAGE = '@tensorflow/tfjs-node-gpu';
const PACKAGE_VERSION = '4.22.0';

/**
 * The folder of tfjs-node-gpu, as this package resolves it.
 * @returns {string | undefined} undefined if it is not installed
 */
export function findPackage() {
  try {
    // a new `require` each time, since Node caches that a package is missing
    return dirname(createRequire(import.meta.url).resolve(`${PACKAGE}/package.json`));
  } catch {
    return undefined;
  }
}

/**
 * The folder of tfjs-node-gpu. Installs the package if npm left it out: it is an optional dependency, because its own
 * install script fails where its download host cannot be reached.
 * @param {{log: (line: string) => void}} options
 * @returns {string}
 * @throws {InstallError} if npm does not manage this project, or npm fails
 */
export function ensurePackage({ log }) {
  const found = findPackage();
  if (found) return found;
  const requirement = `${PACKAGE}@${PACKAGE_VERSION}`;
  const root = npmRoot(fileURLToPath(import.meta.url));
  if (!root) {
    throw new InstallError(`${PACKAGE} is not installed.`, [
      `pnpm: \`pnpm add --ignore-scripts ${requirement}\``,
      `yarn: \`yarn add ${requirement}\` with \`enableScripts: false\` in .yarnrc.yml`,
    ]);
  }
  log(`Installing ${requirement} with npm`);
  const result = run('npm', ['install', '--ignore-scripts', '--no-save', '--no-audit', '--no-fund', requirement], {
    cwd: root,
  });
  const folder = result.ok ? findPackage() : undefined;
  if (!folder) {
    throw new InstallError(`npm could not install ${requirement} in ${root}:\n${tail(result.output)}`, [
      `run \`npm install --ignore-scripts ${requirement}\` in that folder, then this command again`,
    ]);
  }
  return folder;
}

/**
 * The project that npm installed a file into.
 * @param {string} file a path inside `node_modules`
 * @returns {string | undefined}
 */
export function npmRoot(file) {
  const at = file.indexOf(`${sep}node_modules${sep}`);
  if (at < 0) return undefined;
  const root = file.slice(0, at);
  // only npm writes this file
  return existsSync(join(root, 'node_modules', '.package-lock.json')) ? root : undefined;
}

/**
 * Runs tfjs-node-gpu's own installer, which downloads TensorFlow 2.9.1 and a prebuilt addon.
 * @param {string} folder the package's folder
 * @param {'cpu' | 'gpu'} variant
 * @throws {InstallError} if it fails
 */
export function runOwnInstaller(folder, variant) {
  // The installer rewrites package.json, and pnpm shares that file between projects by a hard link: copy it first.
  const manifest = join(folder, 'package.json');
  copyFileSync(manifest, `${manifest}.own`);
  renameSync(`${manifest}.own`, manifest);
  const result = run(process.execPath, [join('scripts', 'install.js'), variant, 'download'], { cwd: folder });
  if (!result.ok) throw new InstallError(`${PACKAGE}'s own installer failed:\n${tail(result.output)}`);
}

/**
 * Links a runtime and its addon into tfjs-node-gpu's folder as `deps` and `lib`, where its loader looks. Each link is created
 * under another name and renamed, so that the package always has one. A folder left by another installer is replaced.
 * No file in the package is written to, because a package manager may share it between projects.
 * @param {string} folder the package's folder
 * @param {string} runtime contains `deps/lib` and `deps/include`
 * @param {string} addon contains `napi-v8/tfjs_binding.node`
 */
export function linkRuntime(folder, runtime, addon) {
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
  if (lstatSync(path, { throwIfNoEntry: false })?.isDirectory()) {
    renameSync(path, old);
    renameSync(link, path);
    rmSync(old, { recursive: true });
  } else {
    renameSync(link, path);
  }
}

/**
 * Whether the package's links lead to a runtime and its addon.
 * @param {string} folder the package's folder
 * @param {string} runtime
 * @param {string} addon
 */
export const isLinked = (folder, runtime, addon) =>
  readLink(join(folder, 'deps')) === join(runtime, 'deps') && readLink(join(folder, 'lib')) === addon;

/** @param {string} path */
function readLink(path) {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}

/**
 * The runtime that the package's links lead to.
 * @param {string} folder the package's folder
 * @returns {string | undefined} undefined if there is none or its files are gone
 */
export function linkedRuntime(folder) {
  try {
    return dirname(dirname(dirname(realpathSync(join(folder, 'lib', 'napi-v8', 'tfjs_binding.node')))));
  } catch {
    return undefined;
  }
}
