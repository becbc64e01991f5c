// @ts-check
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { firstThatRuns, run, tail } from './command.mjs';
import { InstallError } from './errors.mjs';
import { makePartial, moveInPlace, variantOf } from './runtime.mjs';

const FLAGS = ['-std=c++17', '-fPIC', '-shared', '-w', '-DNAPI_VERSION=8', '-Wl,-rpath,$ORIGIN/../../deps/lib'];
// by way of the package's folder, so that they are found from a bundle in dist too
const QUIET = fileURLToPath(new URL('../install/quiet.cc', import.meta.url));
const KERNELS = fileURLToPath(new URL('../native', import.meta.url));
const GPU_KERNELS = join(KERNELS, 'gpu');

const CC = 'libtensorflow_cc.so.2';
const FRAMEWORK = 'libtensorflow_framework.so.2';
/** CUDA's compiler and cuBLAS, as the wheels lay them. */
const CUDA = ['cuda_nvrtc', 'cublas'].map((name) => `-Wl,-rpath,$ORIGIN/../../deps/nvidia/${name}/lib`);

/** @typedef {{name: string, sources: string[], flags: string[], libraries: string[]}} Addon */

/**
 * @param {string} binding tfjs-node-gpu's folder of sources
 * @returns {Record<'tfjs' | 'quiet' | 'kernels' | 'gpu', Addon>}
 */
export const addons = (binding) => ({
  tfjs: { name: 'tfjs_binding.node', sources: sourcesIn(binding), flags: ['-O2'], libraries: [CC, FRAMEWORK] },
  quiet: { name: 'quiet.node', sources: [QUIET], flags: ['-O2', '-ldl'], libraries: [] },
  kernels: {
    name: 'kernels.node',
    sources: sourcesIn(KERNELS),
    // loops over exp and tanh become vector code only where none of them may set errno or trap
    flags: ['-O3', '-fno-math-errno', '-fno-trapping-math', '-fvisibility=hidden'],
    libraries: [FRAMEWORK],
  },
  gpu: {
    name: 'gpu.node',
    sources: sourcesIn(GPU_KERNELS),
    // NDEBUG: TensorFlow's headers ask for nothing of its library then
    flags: ['-O2', '-DNDEBUG', '-fvisibility=hidden', `-Wa,-I${GPU_KERNELS}`, ...CUDA, '-ldl'],
    libraries: [FRAMEWORK],
  },
});

/** @param {string} folder */
const sourcesIn = (folder) =>
  readdirSync(folder)
    .filter((name) => name.endsWith('.cc'))
    .sort()
    .map((name) => join(folder, name));

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
 * Where the addon lies in the folder that {@link ensureAddon} makes.
 * @param {string} folder
 */
export const addonPath = (folder) => join(folder, 'napi-v8', 'tfjs_binding.node');

/**
 * Builds tfjs-node's addon against a runtime, and beside it the one that quiets TensorFlow and the one with its fused
 * operations, unless the runtime has them already. They speak Node-API, so one build serves every version of Node; and its
 * headers come from the npm package `node-api-headers`, so Node's own are not needed.
 * @param {string} sources tfjs-node-gpu's package folder
 * @param {string} runtime
 * @param {{log: (line: string) => void}} options
 * @returns {string} the folder that holds `napi-v8/tfjs_binding.node`, `quiet.node` and, where they could be built,
 *   `kernels.node` and, for CUDA, `gpu.node`
 * @throws {InstallError} where there is no compiler, or it fails
 */
export function ensureAddon(sources, runtime, { log }) {
  const binding = join(sources, 'binding');
  const target = join(runtime, `addon-${fingerprint(binding)}`);
  if (existsSync(target)) return target;
  const compiler = findCompiler();
  if (!compiler)
    throw new InstallError("There is no C++ compiler, which building tfjs-node's addon needs.", COMPILER_HINTS);

  log(`Building tfjs-node's addon with ${compiler}`);
  const partial = makePartial(runtime, target);
  try {
    const folder = join(partial, 'napi-v8');
    mkdirSync(folder);
    const { tfjs, quiet, kernels, gpu } = addons(binding);
    build(compiler, tfjs, runtime, folder);
    build(compiler, quiet, runtime, folder);
    for (const addon of variantOf(runtime) === 'gpu' ? [kernels, gpu] : [kernels]) {
      try {
        build(compiler, addon, runtime, folder);
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

/**
 * @param {string} compiler
 * @param {Addon} addon
 * @param {string} runtime
 * @param {string} folder where it goes
 */
export function build(compiler, { name, sources, flags, libraries }, runtime, folder) {
  const deps = join(runtime, 'deps');
  const done = run(compiler, [
    ...FLAGS,
    ...['-I', nodeHeaders(), '-I', join(deps, 'include')],
    ...sources,
    ...['-o', join(folder, name)],
    ...libraries.map((library) => join(deps, 'lib', library)),
    ...flags,
  ]);
  if (done.ok) return;
  throw new InstallError(`${compiler} could not build ${name}:\n${tail(done.output)}`, [
    'g++ 12 and clang 14 and later are known to build it: set the variable CXX to choose another compiler',
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
  const hash = createHash('sha256').update(
    JSON.stringify([FLAGS, Object.values(addons(binding)).map(({ flags }) => flags)]),
  );
  hash.update(readFileSync(QUIET));
  for (const folder of [binding, KERNELS, GPU_KERNELS]) {
    const files = readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isFile());
    for (const name of files.map(({ name }) => name).sort()) hash.update(name).update(readFileSync(join(folder, name)));
  }
  return hash.digest('hex').slice(0, 12);
}
