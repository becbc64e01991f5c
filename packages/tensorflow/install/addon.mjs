// @ts-check
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { basename, dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { firstThatRuns, run, tail } from './command.mjs';
import { InstallError } from './errors.mjs';
import { makePartial, moveInPlace, variantOf } from './runtime.mjs';

const FLAGS = ['-std=c++17', '-fPIC', '-DNAPI_VERSION=8'];
const LINK = ['-shared', '-Wl,-rpath,$ORIGIN/../../deps/lib'];
// The paths contain `../install` and `../native`, so that they are also right from a bundle in dist.
const QUIET = fileURLToPath(new URL('../install/quiet.cc', import.meta.url));
export const NATIVE = fileURLToPath(new URL('../native', import.meta.url));
const GPU = join(NATIVE, 'gpu');
/** Sources of both addons. */
const SHARED = [
  'operation.cc',
  'parallel.cc',
  'file-values.cc',
  'mapped-file.cc',
  'step-memory.cc',
  'store-functions.cc',
];

/** Flags for our own sources. Warnings are errors only in a clone, because a newer compiler may have new ones. */
export const WARNINGS = ['-Wall', '-Wextra', ...(NATIVE.includes('/node_modules/') ? [] : ['-Werror'])];

const CC = 'libtensorflow_cc.so.2';
const FRAMEWORK = 'libtensorflow_framework.so.2';
/** Linker flags for the folders of CUDA's compiler and cuBLAS, relative to the addon. */
const CUDA = ['cuda_nvrtc', 'cublas'].map((name) => `-Wl,-rpath,$ORIGIN/../../deps/nvidia/${name}/lib`);

/**
 * What an addon, or a program, is built from: flags for each source, flags for the link, and libraries of TensorFlow.
 * @typedef {{name: string, sources: string[], flags: string[], link: string[], libraries: string[], warnings?: string[]}} Addon
 */

/**
 * @param {string} binding tfjs-node-gpu's folder of sources
 * @returns {Record<'tfjs' | 'quiet' | 'kernels' | 'gpu', Addon>}
 */
export const addons = (binding) => ({
  tfjs: {
    name: 'tfjs_binding.node',
    sources: filesIn(binding, /\.cc$/),
    flags: ['-O2'],
    link: LINK,
    libraries: [CC, FRAMEWORK],
    warnings: ['-w'], // tfjs-node's own sources
  },
  quiet: { name: 'quiet.node', sources: [QUIET], flags: ['-O2'], link: [...LINK, '-ldl'], libraries: [] },
  kernels: {
    name: 'kernels.node',
    sources: filesIn(NATIVE, /\.cc$/).filter((path) => !path.startsWith(`${GPU}/`)),
    // the compiler vectorises loops with exp and tanh only if these cannot set errno or trap
    flags: ['-O3', '-fno-math-errno', '-fno-trapping-math', '-fvisibility=hidden', '-I', NATIVE],
    link: LINK,
    libraries: [FRAMEWORK],
  },
  gpu: {
    name: 'gpu.node',
    sources: [...filesIn(GPU, /\.cc$/), ...SHARED.map((name) => join(NATIVE, 'runtime', name))],
    // with NDEBUG, TensorFlow's headers refer to no symbols of its library
    flags: ['-O2', '-DNDEBUG', '-fvisibility=hidden', '-I', NATIVE, `-Wa,-I${GPU}`],
    link: [...LINK, ...CUDA, '-ldl'],
    libraries: [FRAMEWORK],
  },
});

/**
 * The files below a folder whose name matches, sorted.
 * @param {string} folder
 * @param {RegExp} pattern
 * @returns {string[]}
 */
export const filesIn = (folder, pattern) =>
  readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && pattern.test(entry.name))
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .sort();

/** How to get a C++ compiler. */
export const COMPILER_HINTS = [
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
 * The C++ compiler's command.
 * @throws {InstallError} if there is no compiler
 */
export function requireCompiler() {
  const compiler = findCompiler();
  if (compiler) return compiler;
  throw new InstallError("There is no C++ compiler. It is needed to build tfjs-node's addon.", COMPILER_HINTS);
}

/**
 * The path of the addon in the folder that {@link ensureAddon} makes.
 * @param {string} folder
 */
export const addonPath = (folder) => join(folder, 'napi-v8', 'tfjs_binding.node');

/**
 * Builds the addons against a runtime, unless it has them already: tfjs-node's own, the one that silences TensorFlow while it
 * loads, and those with the native operations. They use Node-API, so one build works with every version of Node. The headers
 * come from the npm package `node-api-headers`.
 * @param {string} sources tfjs-node-gpu's package folder
 * @param {string} runtime
 * @param {{log: (line: string) => void}} options
 * @returns {Promise<string>} the folder that holds `napi-v8/tfjs_binding.node`, `quiet.node` and, where they could be built,
 *   `kernels.node` and, for CUDA, `gpu.node`
 * @throws {InstallError} if there is no compiler, or it cannot build tfjs-node's addon
 */
export async function ensureAddon(sources, runtime, { log }) {
  const binding = join(sources, 'binding');
  const target = join(runtime, `addon-${fingerprint(binding)}`);
  if (existsSync(target)) return target;
  const compiler = requireCompiler();

  log(`Building tfjs-node's addon with ${compiler}`);
  const partial = makePartial(runtime, target);
  try {
    const folder = join(partial, 'napi-v8');
    mkdirSync(folder);
    const { tfjs, quiet, kernels, gpu } = addons(binding);
    await build(compiler, [tfjs, quiet], runtime, folder);
    for (const addon of variantOf(runtime) === 'gpu' ? [kernels, gpu] : [kernels]) {
      try {
        await build(compiler, [addon], runtime, folder);
      } catch (error) {
        log(`Warning: training will be slower: ${/** @type {Error} */ (error).message}`);
      }
    }
    moveInPlace(partial, target);
  } finally {
    rmSync(partial, { recursive: true, force: true });
  }
  return target;
}

const runCompiler = promisify(execFile);

/** Compilers at once: each takes up to a gigabyte of memory. */
const MAX_COMPILERS = 8;

/**
 * Builds addons. Sources are compiled in parallel. A source that several addons compile with the same flags is compiled once.
 * @param {string} compiler
 * @param {readonly Addon[]} targets
 * @param {string} runtime
 * @param {string} folder the addons' folder
 * @throws {InstallError} with the compiler's last lines
 */
export async function build(compiler, targets, runtime, folder) {
  const objects = mkdtempSync(join(folder, '.objects-'));
  /** @type {Map<string, {name: string, args: string[]}>} */
  const compilations = new Map();
  const objectOf = (/** @type {Addon} */ { name, flags, warnings = WARNINGS }, /** @type {string} */ source) => {
    const args = [...FLAGS, ...warnings, ...includes(runtime), ...flags, '-c', source];
    const hash = createHash('sha256').update(JSON.stringify(args)).digest('hex').slice(0, 12);
    const object = join(objects, `${basename(source)}-${hash}.o`);
    compilations.set(object, { name, args: [...args, '-o', object] });
    return object;
  };
  const links = targets.map((addon) => {
    const { name, sources, link, libraries } = addon;
    const paths = libraries.map((library) => join(runtime, 'deps', 'lib', library));
    return {
      name,
      args: [...sources.map((source) => objectOf(addon, source)), '-o', join(folder, name), ...paths, ...link],
    };
  });
  try {
    for (const commands of [[...compilations.values()], links]) await runAll(compiler, commands);
  } finally {
    rmSync(objects, { recursive: true, force: true });
  }
}

/**
 * @param {string} compiler
 * @param {readonly {name: string, args: string[]}[]} commands
 * @throws {InstallError} of the first command that fails, once the others that run have ended
 */
async function runAll(compiler, commands) {
  const waiting = [...commands];
  const work = async () => {
    for (let command = waiting.shift(); command; command = waiting.shift()) {
      try {
        await runCompiler(compiler, command.args, { maxBuffer: 1 << 28 });
      } catch (error) {
        waiting.length = 0;
        const { stdout = '', stderr = '', message } = /** @type {Error & {stdout?: string, stderr?: string}} */ (error);
        const output = `${stdout}${stderr}`.trim() || message;
        throw new InstallError(`${compiler} could not build ${command.name}:\n${tail(output)}`, [
          'g++ 12 and clang 14 and later are known to build it: set the variable CXX to choose another compiler',
        ]);
      }
    }
  };
  const count = Math.min(availableParallelism(), MAX_COMPILERS);
  const results = await Promise.allSettled(Array.from({ length: count }, work));
  for (const result of results) if (result.status === 'rejected') throw result.reason;
}

/** @param {string} runtime */
function includes(runtime) {
  return ['-isystem', nodeHeaders(), '-isystem', join(runtime, 'deps', 'include')];
}

function nodeHeaders() {
  const require = createRequire(import.meta.url);
  return join(dirname(require.resolve('node-api-headers/package.json')), 'include');
}

/**
 * A hash of everything that the addons are built from: a change builds new ones.
 * @param {string} binding tfjs-node-gpu's folder of sources
 */
export function fingerprint(binding) {
  const hash = createHash('sha256').update(
    JSON.stringify([FLAGS, Object.values(addons(binding)).map(({ flags, link }) => [flags, link])], relativePaths),
  );
  for (const root of [binding, NATIVE]) {
    for (const path of filesIn(root, SOURCE)) hash.update(relative(root, path)).update(readFileSync(path));
  }
  return hash.update(readFileSync(QUIET)).digest('hex').slice(0, 12);
}

const SOURCE = /\.(cc|h|cu)$/;

/** Makes the hash independent of the folder that contains the sources. */
const relativePaths = (/** @type {string} */ _, /** @type {unknown} */ value) =>
  typeof value === 'string' ? value.replace(NATIVE, 'native') : value;
