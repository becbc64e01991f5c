// @ts-check
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { firstThatRuns, run, tail } from './command.mjs';
import { Problem } from './problem.mjs';
import { makePartial, moveInPlace } from './runtime.mjs';

const FLAGS = ['-std=c++17', '-O2', '-fPIC', '-shared', '-w', '-DNAPI_VERSION=8'];
// by way of the package's folder, so that it is found from a bundle in dist too
const QUIET = fileURLToPath(new URL('../install/quiet.cc', import.meta.url));

/** What to do where there is no C++ compiler. */
export const COMPILER_MENDS = [
  'Debian, Ubuntu: `apt-get install g++`',
  'Fedora: `dnf install gcc-c++`',
  'a compiler under another name: set the variable CXX',
];

/**
 * The C++ compiler's command.
 * @param {typeof run} [runner]
 * @param {NodeJS.ProcessEnv} [env]
 * @returns {string | undefined}
 */
export function findCompiler(runner = run, env = process.env) {
  const names = [...(env.CXX ? [env.CXX] : []), 'g++', 'clang++', 'c++'];
  return firstThatRuns(
    names.map((name) => [name, '--version']),
    runner,
  )?.[0];
}

/**
 * Where the addon lies in the folder that {@link ensureAddon} makes.
 * @param {string} folder
 */
export const addonPath = (folder) => join(folder, 'napi-v8', 'tfjs_binding.node');

/**
 * Builds tfjs-node's addon against a runtime, and beside it one that quiets TensorFlow, unless the runtime has them already.
 * They speak Node-API, so one build serves every version of Node; and its headers come from the npm package
 * `node-api-headers`, so Node's own are not needed.
 * @param {string} sources tfjs-node-gpu's package folder
 * @param {string} runtime
 * @param {{log: (line: string) => void}} options
 * @returns {string} the folder that holds `napi-v8/tfjs_binding.node` and `napi-v8/quiet.node`
 * @throws {Problem} where there is no compiler, or it fails
 */
export function ensureAddon(sources, runtime, { log }) {
  const binding = join(sources, 'binding');
  const target = join(runtime, `addon-${fingerprint(binding)}`);
  if (existsSync(target)) return target;
  const compiler = findCompiler();
  if (!compiler) throw new Problem("There is no C++ compiler here to build tfjs-node's addon with.", COMPILER_MENDS);

  log(`Building tfjs-node's addon with ${compiler}`);
  const partial = makePartial(runtime, target);
  try {
    const folder = join(partial, 'napi-v8');
    mkdirSync(folder);
    const tfjs = ['tfjs_backend.cc', 'tfjs_binding.cc'].map((name) => join(binding, name));
    build(
      compiler,
      tfjs,
      runtime,
      ['libtensorflow_cc.so.2', 'libtensorflow_framework.so.2'],
      join(folder, 'tfjs_binding.node'),
    );
    build(compiler, [QUIET], runtime, [], join(folder, 'quiet.node'));
    moveInPlace(partial, target);
  } finally {
    rmSync(partial, { recursive: true, force: true });
  }
  return target;
}

/**
 * @param {string} compiler
 * @param {string[]} sources
 * @param {string} runtime
 * @param {string[]} libraries names in the runtime's `deps/lib`
 * @param {string} addon the path to write
 */
function build(compiler, sources, runtime, libraries, addon) {
  const deps = join(runtime, 'deps');
  const done = run(compiler, [
    ...FLAGS,
    ...['-I', nodeHeaders(), '-I', join(deps, 'include')],
    ...sources,
    ...['-o', addon],
    ...libraries.map((name) => join(deps, 'lib', name)),
    ...['-Wl,-rpath,$ORIGIN/../../deps/lib', '-ldl'],
  ]);
  if (done.ok) return;
  throw new Problem(`${compiler} could not build ${basename(addon)}:\n${tail(done.output)}`, [
    'g++ 9, clang 10 and later are known to build it: set the variable CXX to choose another compiler',
  ]);
}

function nodeHeaders() {
  const require = createRequire(import.meta.url);
  return join(dirname(require.resolve('node-api-headers/package.json')), 'include');
}

/**
 * What the addons are made of, so that a change makes new ones.
 * @param {string} binding
 */
function fingerprint(binding) {
  const hash = createHash('sha256').update(JSON.stringify(FLAGS)).update(readFileSync(QUIET));
  for (const name of readdirSync(binding).sort()) hash.update(name).update(readFileSync(join(binding, name)));
  return hash.digest('hex').slice(0, 12);
}
