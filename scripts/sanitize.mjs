// `npm run test:sanitize`: the native operations under AddressSanitizer and UndefinedBehaviorSanitizer in their tests, and the
// threaded ones under ThreadSanitizer in a driver of their own, since ThreadSanitizer cannot run inside Node.
//
// `npm run test:sanitize -- --calls N [--seed N]` makes N random calls with each instruction set instead.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, realpathSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { addons, build, filesIn, findCompiler, NATIVE } from '../packages/tensorflow/install/addon.mjs';
import { testAddons } from '../packages/tensorflow/test/gpu/test-addons.mjs';
import { root, setUpOrExit } from './setup.mjs';

const { values: options, positionals } = parseArgs({
  options: { calls: { type: 'string' }, seed: { type: 'string', default: '1' } },
  allowPositionals: true,
});
await setUpOrExit({ quiet: true });

const tests = join(root, 'packages/tensorflow/test');
const require = createRequire(join(root, 'packages/tensorflow/package.json'));
const tfjs = dirname(require.resolve('@tensorflow/tfjs-node-gpu/package.json'));
const runtime = dirname(realpathSync(join(tfjs, 'deps')));
const { kernels, gpu } = addons(join(tfjs, 'binding'));
const { emulated, faults } = testAddons({ kernels, gpu });
const compiler = findCompiler();
if (!compiler) {
  console.error('There is no C++ compiler here. Install g++ 12 or later.');
  process.exit(1);
}

// Versions of a function for several CPUs are picked before a sanitizer is ready: only the plain one is built.
const COMMON = ['-O1', '-g', '-fno-omit-frame-pointer', '-DWPO_NO_TARGET_CLONES', '-DNDEBUG', '-I', NATIVE];
const MATH = ['-fno-math-errno', '-fno-trapping-math'];
const ADDRESS = ['-fsanitize=address,undefined,float-cast-overflow', '-fno-sanitize-recover=all'];

const folder = mkdtempSync(join(tmpdir(), 'wpo-sanitize-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));

/** The sources of a program that runs the operations without TensorFlow. */
const programSources = (driver) => [
  ...['operation.cc', 'parallel.cc', 'step-memory.cc'].map((name) => join(NATIVE, 'runtime', name)),
  ...['gemm', 'attention', 'elementwise'].flatMap((name) => filesIn(join(NATIVE, name), /\.cc$/)),
  join(tests, 'native', driver),
];
const program = { ...kernels, libraries: [] };
const rpath = `-Wl,-rpath,${join(runtime, 'deps/lib')}`;
const targets = [
  { ...kernels, flags: [...COMMON, ...MATH, ...ADDRESS], link: ['-shared', rpath, ...ADDRESS] },
  { ...emulated, flags: [...COMMON, ...ADDRESS], link: ['-shared', rpath, '-ldl', ...ADDRESS] },
  { ...faults, flags: [...COMMON, ...ADDRESS], link: ['-shared', rpath, ...ADDRESS] },
  {
    ...program,
    name: 'threads',
    sources: programSources('thread-driver.cc'),
    flags: [...COMMON, ...MATH, '-fsanitize=thread'],
    link: ['-pthread', '-fsanitize=thread'],
  },
  {
    ...program,
    name: 'allocations',
    sources: programSources('allocation-driver.cc'),
    flags: [...COMMON, ...MATH],
    link: ['-pthread', '-Wl,--wrap=aligned_alloc'],
  },
];

console.log('Building the native operations with sanitizers');
try {
  await build(compiler, options.calls === undefined ? targets : targets.slice(0, 1), runtime, folder);
} catch (error) {
  console.error(error.message);
  process.exit(1);
}

const failures = [];
const library = (name) => spawnSync(compiler, [`-print-file-name=${name}`], { encoding: 'utf8' }).stdout.trim();
const sanitized = {
  ...process.env,
  LD_PRELOAD: `${library('libasan.so')} ${library('libubsan.so')}`,
  ASAN_OPTIONS: 'detect_leaks=0:allocator_may_return_null=1', // Node and TensorFlow free little at exit
  UBSAN_OPTIONS: 'print_stacktrace=1',
  WPO_TEST_ADDONS: folder,
};
const vitest = [
  join(root, 'node_modules/vitest/vitest.mjs'),
  ...['run', '--config', join(tests, 'native/vitest.sanitize.config.ts')],
];
if (options.calls === undefined) {
  for (const isa of ['amx', 'avx2', 'sse']) {
    // without a random address layout, which ThreadSanitizer of older compilers cannot map
    const env = { ...process.env, WPO_ISA: isa, WPO_THREADS: '4', TSAN_OPTIONS: 'halt_on_error=1' };
    await check(`ThreadSanitizer, ${isa}`, 'setarch', ['-R', join(folder, 'threads')], env);
  }
  for (const count of ['1', '4']) {
    const env = { ...process.env, WPO_THREADS: count };
    await check(`Failed allocations, threads: ${count}`, join(folder, 'allocations'), [], env);
  }
  const name = 'AddressSanitizer and UndefinedBehaviorSanitizer';
  await check(name, process.execPath, [...vitest, ...positionals], sanitized);
} else {
  const log = join(folder, 'last-call');
  for (const isa of instructionSets()) {
    const env = { ...sanitized, WPO_ISA: isa, WPO_RANDOM_CALLS: options.calls, WPO_RANDOM_SEED: options.seed };
    const before = failures.length;
    await check(`Random calls, ${isa}`, process.execPath, [...vitest, 'native-random'], {
      ...env,
      WPO_RANDOM_LOG: log,
    });
    if (failures.length > before && existsSync(log)) console.log(`The last call was ${readFileSync(log, 'utf8')}`);
  }
}
process.exitCode = failures.length > 0 ? 1 : 0;
console.log(failures.length > 0 ? `Sanitizers: failed: ${failures.join(', ')}` : 'Sanitizers: passed');

/** The instruction sets of this CPU, as WPO_ISA names them. */
function instructionSets() {
  const flags = new Set(
    readFileSync('/proc/cpuinfo', 'utf8')
      .match(/^flags.*$/m)?.[0]
      .split(/\s+/),
  );
  const needed = { amx: 'amx_bf16', avx512: 'avx512bw', avx2: 'avx2' };
  return [...Object.keys(needed).filter((isa) => flags.has(needed[isa])), 'sse'];
}

async function check(name, program, args, env) {
  console.log(name);
  if ((await run(program, args, env)) !== 0) failures.push(name);
}

function run(program, args, env) {
  const child = spawn(program, args, { cwd: root, env, stdio: 'inherit' });
  return new Promise((done, fail) => child.on('error', fail).on('close', done));
}
