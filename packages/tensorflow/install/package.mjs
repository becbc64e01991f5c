// @ts-check
import { copyFileSync, existsSync, renameSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { run, tail } from './command.mjs';
import { Problem } from './problem.mjs';

/** The npm package that gets a current TensorFlow. Its CPU twin has the same addon; which library lies under it decides. */
export const PACKAGE = '@tensorflow/tfjs-node-gpu';
export const PACKAGE_VERSION = '4.22.0';

/**
 * tfjs-node-gpu's folder, as this package sees it.
 * @returns {string | undefined} undefined where it is not installed
 */
export function findPackage() {
  try {
    // a fresh `require` for each look: Node remembers a package's absence
    return dirname(createRequire(import.meta.url).resolve(`${PACKAGE}/package.json`));
  } catch {
    return undefined;
  }
}

/**
 * tfjs-node-gpu's folder, putting the package in place where npm left it out: it is an optional dependency, since its own
 * install script fails wherever its download host is not reached.
 * @param {{log: (line: string) => void}} options
 * @returns {string}
 * @throws {Problem} where npm is not what manages this project, or npm fails
 */
export function ensurePackage({ log }) {
  const found = findPackage();
  if (found) return found;
  const wanted = `${PACKAGE}@${PACKAGE_VERSION}`;
  const root = npmRoot(fileURLToPath(import.meta.url));
  if (!root) {
    throw new Problem(`${PACKAGE} is not installed.`, [
      `pnpm: \`pnpm add --ignore-scripts ${wanted}\``,
      `yarn: \`yarn add ${wanted}\` with \`enableScripts: false\` in .yarnrc.yml`,
    ]);
  }
  log(`Installing ${wanted} with npm`);
  const done = run('npm', ['install', '--ignore-scripts', '--no-save', '--no-audit', '--no-fund', wanted], {
    cwd: root,
  });
  const placed = done.ok ? findPackage() : undefined;
  if (!placed) {
    throw new Problem(`npm could not install ${wanted} in ${root}:\n${tail(done.output)}`, [
      `run \`npm install --ignore-scripts ${wanted}\` there yourself, then this again`,
    ]);
  }
  return placed;
}

/**
 * The project a file was installed into by npm.
 * @param {string} file a path inside `node_modules`
 * @returns {string | undefined}
 */
export function npmRoot(file) {
  const at = file.indexOf(`${sep}node_modules${sep}`);
  if (at < 0) return undefined;
  const root = file.slice(0, at);
  // the file npm alone leaves
  return existsSync(join(root, 'node_modules', '.package-lock.json')) ? root : undefined;
}

/**
 * tfjs-node-gpu's own installer: TensorFlow 2.9.1 and a prebuilt addon, from its own host.
 * @param {string} folder the package's folder
 * @param {'cpu' | 'gpu'} variant
 * @throws {Problem} where it fails
 */
export function runOwnInstaller(folder, variant) {
  // it rewrites package.json, which pnpm shares between projects by a hard link: give it a file of its own
  const manifest = join(folder, 'package.json');
  copyFileSync(manifest, `${manifest}.own`);
  renameSync(`${manifest}.own`, manifest);
  const done = run(process.execPath, [join('scripts', 'install.js'), variant, 'download'], { cwd: folder });
  if (!done.ok) throw new Problem(`${PACKAGE}'s own installer failed:\n${tail(done.output)}`);
}
