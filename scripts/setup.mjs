// Makes a clone ready to use: installs dependencies and TensorFlow, and builds the packages. Skips what is already done.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join, relative, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

export const root = resolve(fileURLToPath(import.meta.url), '../..');
const stamps = join(root, 'node_modules/.cache/wpo');
/** pnpm and its version, as `npx` takes them. */
const PNPM = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).packageManager;

/** A stage that failed. The message says what to do. */
class SetupError extends Error {}

/**
 * @param {{quiet?: boolean, declarations?: boolean}} [options] quiet: report only running stages, on stderr; declarations:
 *   build the packages' types too, which takes most of a build's time and is needed only for packing
 * @throws an error that {@link describe} turns into the text to show
 */
export async function setUp({ quiet = false, declarations = false } = {}) {
  checkNode();
  const say = quiet ? (line) => console.error(`wpo: ${line}`) : (line) => console.log(line);
  const done = quiet ? () => {} : say;
  await withLock(async () => {
    await dependencies(say, done);
    await tensorflow(say, done);
    await packages(declarations, say, done);
  });
}

function checkNode() {
  const major = Number(process.versions.node.split('.')[0]);
  if (major < 20) throw new SetupError(`Node ${process.versions.node} is too old: install Node 20, 22, 24 or 26.`);
}

async function dependencies(say, done) {
  const manifests = ['packages', 'examples', 'internal'].flatMap((folder) => glob(folder, /^([^/]+\/)?package\.json$/));
  const hash = hashFiles(['package.json', 'pnpm-lock.yaml', 'pnpm-workspace.yaml', ...manifests]);
  if (isStamped('dependencies', hash)) return done('Dependencies: in place');
  say(`Dependencies: installing with ${PNPM}`);
  // without a terminal, pnpm would stop and ask before it replaces a node_modules of another layout
  const args = ['-y', PNPM, 'install', '--frozen-lockfile', '--config.confirmModulesPurge=false'];
  await run(
    'npx',
    args,
    `Dependencies could not be installed. Check that the npm registry can be reached, then try: npx ${args.join(' ')}`,
  );
  stamp('dependencies', hash);
}

async function tensorflow(say, done) {
  const { install } = await import('../packages/tensorflow/install/install.mjs');
  const { describeError } = await import('../packages/tensorflow/install/errors.mjs');
  try {
    const log = (line) => say(`TensorFlow: ${line[0].toLowerCase()}${line.slice(1)}`);
    const { variant, runtime, folder } = await install({ log, show: !quietOutput() });
    done(`TensorFlow: in place (${variant}, ${runtime ?? folder})`);
  } catch (error) {
    throw new SetupError(`TensorFlow could not be set up. ${describeError(error)}`);
  }
}

const quietOutput = () => !process.stderr.isTTY;

async function packages(declarations, say, done) {
  const stale = stalePackages(declarations);
  if (stale.length === 0) return done('Packages: built');
  say(`Packages: building ${stale.map(({ name }) => name).join(', ')}`);
  const count = Math.min(availableParallelism(), 4); // a build takes half a gigabyte of memory
  await eachAtOnce(count, stale, ({ name, hash }) => build(name, hash, declarations));
}

async function build(name, hash, declarations) {
  const tsup = join(root, 'node_modules/tsup/dist/cli-default.js');
  const hint = `packages/${name} could not be built. Fix the errors above, then run this again.`;
  const args = [tsup, ...(declarations ? [] : ['--no-dts'])];
  await run(process.execPath, args, hint, join(root, 'packages', name));
  stamp(`build-${name}`, hash, declarations ? 'types' : '');
}

/** Runs a task on each item, at most `count` at a time. */
export async function eachAtOnce(count, items, task) {
  const queue = [...items];
  const worker = async () => {
    for (let item = queue.shift(); item; item = queue.shift()) await task(item);
  };
  await Promise.all(Array.from({ length: count }, worker));
}

/** The packages whose sources, or those of a sibling they depend on, have changed since their last build. */
function stalePackages(declarations) {
  const isPackage = (name) => existsSync(join(root, 'packages', name, 'package.json'));
  const names = readdirSync(join(root, 'packages')).filter(isPackage);
  const siblingsOf = (name) => {
    const manifest = JSON.parse(readFileSync(join(root, 'packages', name, 'package.json'), 'utf8'));
    return names.filter((sibling) => `@wpo/${sibling}` in (manifest.dependencies ?? {}));
  };
  const hashOf = (name) => {
    const own = glob(`packages/${name}`, /^(src|install)\/|^(package\.json|[^/]+\.(ts|mjs))$/);
    const shared = ['tsup.shared.ts', 'tsconfig.json', 'pnpm-lock.yaml', ...glob('internal', /^src\//)];
    return hashFiles([...shared, ...own], siblingsOf(name).map(hashOf).join());
  };
  const isBuilt = (name, hash) =>
    existsSync(join(root, 'packages', name, 'dist/index.js')) &&
    (isStamped(`build-${name}`, hash, 'types') || (!declarations && isStamped(`build-${name}`, hash)));
  return names.map((name) => ({ name, hash: hashOf(name) })).filter(({ name, hash }) => !isBuilt(name, hash));
}

/** Files below a folder whose relative path matches, as paths from the root. */
function glob(folder, pattern) {
  const at = join(root, folder);
  if (!existsSync(at)) return [];
  const found = [];
  const visit = (path) => {
    for (const entry of readdirSync(path, { withFileTypes: true })) {
      const child = join(path, entry.name);
      if (entry.isDirectory() && !['node_modules', 'dist'].includes(entry.name)) visit(child);
      else if (entry.isFile() && pattern.test(relative(at, child))) found.push(relative(root, child));
    }
  };
  visit(at);
  return found.sort();
}

function hashFiles(paths, more = '') {
  const hash = createHash('sha256').update(more);
  for (const path of paths) hash.update(`\0${path}\0`).update(readFileSync(join(root, path)));
  return hash.digest('hex');
}

function isStamped(name, hash, more = '') {
  const path = join(stamps, name);
  return existsSync(path) && readFileSync(path, 'utf8') === `${hash} ${more}`;
}

function stamp(name, hash, more = '') {
  mkdirSync(stamps, { recursive: true });
  writeFileSync(join(stamps, name), `${hash} ${more}`);
}

/** Runs a program and shows its output only if it fails. */
function run(program, args, hint, cwd = root) {
  // an npx that runs this script leaves its own settings in the environment, which the npx started here must not see
  const { npm_config_call, npm_config_package, ...env } = process.env;
  return new Promise((done, fail) => {
    const child = spawn(program, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text) => (output += text));
    child.on('error', (error) => fail(new SetupError(`${program}: ${error.message}\n${hint}`)));
    child.on('close', (code) =>
      code === 0 ? done() : fail(new SetupError(`${output.trim().split('\n').slice(-30).join('\n')}\n${hint}`)),
    );
  });
}

/** Runs a task while no other process sets up this clone. */
async function withLock(task) {
  const lock = join(tmpdir(), `wpo-setup-${createHash('sha256').update(root).digest('hex').slice(0, 16)}`);
  while (!take(lock)) await sleep(200);
  try {
    await task();
  } finally {
    rmSync(lock, { recursive: true, force: true });
  }
}

function take(lock) {
  try {
    mkdirSync(lock);
    writeFileSync(join(lock, 'pid'), String(process.pid));
    return true;
  } catch (error) {
    if (error.code !== 'EEXIST') throw error;
    if (isStale(lock)) rmSync(lock, { recursive: true, force: true });
    return false;
  }
}

/** Whether a lock's process has ended. */
function isStale(lock) {
  try {
    process.kill(Number(readFileSync(join(lock, 'pid'), 'utf8')), 0);
    return false;
  } catch (error) {
    if (error.code === 'ESRCH') return true;
    // no pid yet: its process is about to write it, or died before it could
    return error.code === 'ENOENT' && Date.now() - (statSync(lock, { throwIfNoEntry: false })?.mtimeMs ?? 0) > 5000;
  }
}

/** What to show of an error: the hint if there is one, else the error with its stack. */
export const describe = (error) => (error instanceof SetupError ? error.message : error);

/** Sets up; on failure prints what to do and exits. */
export async function setUpOrExit(options) {
  try {
    await setUp(options);
  } catch (error) {
    console.error(describe(error));
    process.exit(1);
  }
}

if (process.argv[1] && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) await setUpOrExit();
