import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { firstThatRuns, run, tail } from './command.mjs';
import { Problem } from './problem.mjs';
import { makePartial, moveInPlace } from './runtime.mjs';

const SOURCES = ['tfjs_backend.cc', 'tfjs_binding.cc'];
const HEADERS = [
  'napi_auto_ref.h',
  'tf_auto_status.h',
  'tf_auto_tensor.h',
  'tfe_auto_op.h',
  'tfjs_backend.h',
  'utils.h',
];
const FLAGS = ['-std=c++17', '-O2', '-fPIC', '-shared', '-w', '-DNAPI_VERSION=8'];

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
 * Builds tfjs-node's addon against a runtime, unless the runtime has it already. The addon speaks Node-API, so one build
 * serves every version of Node; and its headers come from the npm package `node-api-headers`, so Node's own are not needed.
 * @param {string} sources tfjs-node-gpu's package folder
 * @param {string} runtime
 * @param {{log: (line: string) => void}} options
 * @returns {string} the folder that holds `napi-v8/tfjs_binding.node`
 * @throws {Problem} where there is no compiler, or it fails
 */
export function ensureAddon(sources, runtime, { log }) {
  const binding = join(sources, 'binding');
  const target = join(runtime, `addon-${fingerprint(binding)}`);
  if (existsSync(target)) return target;
  const compiler = findCompiler();
  if (!compiler) throw new Problem("There is no C++ compiler here to build tfjs-node's addon with.", COMPILER_MENDS);

  log(`Building tfjs-node's addon with ${compiler}`);
  const lib = join(runtime, 'deps', 'lib');
  const partial = makePartial(runtime, target);
  try {
    mkdirSync(join(partial, 'napi-v8'));
    const args = [
      ...FLAGS,
      ...['-I', nodeHeaders(), '-I', join(runtime, 'deps', 'include')],
      ...SOURCES.map((name) => join(binding, name)),
      ...['-o', join(partial, 'napi-v8', 'tfjs_binding.node')],
      ...['libtensorflow_cc.so.2', 'libtensorflow_framework.so.2'].map((name) => join(lib, name)),
      '-Wl,-rpath,$ORIGIN/../../deps/lib',
    ];
    const done = run(compiler, args);
    if (!done.ok) {
      throw new Problem(`${compiler} could not build tfjs-node's addon:\n${tail(done.output)}`, [
        'g++ 9 or clang 10 and later are known to build it; set the variable CXX to choose another',
      ]);
    }
    moveInPlace(partial, target);
  } finally {
    rmSync(partial, { recursive: true, force: true });
  }
  return target;
}

function nodeHeaders() {
  const require = createRequire(import.meta.url);
  return join(dirname(require.resolve('node-api-headers/package.json')), 'include');
}

/** @param {string} binding */
function fingerprint(binding) {
  const hash = createHash('sha256').update(JSON.stringify(FLAGS));
  for (const name of [...SOURCES, ...HEADERS]) hash.update(readFileSync(join(binding, name)));
  return hash.digest('hex').slice(0, 12);
}
