import {
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { expect, it, vi } from 'vitest';
import { describeError } from '../../install/errors.mjs';
import { install } from '../../install/install.mjs';
import { runtimePath } from '../../install/runtime.mjs';
import { wheelRequirements } from '../../install/wheels.mjs';
import { makeZip } from './make-zip';
import { scratch } from './scratch';

const bytes = (text: string) => new TextEncoder().encode(text);

/** A small addon that Node can load; the fake compiler below copies it. */
const real = dirname(createRequire(import.meta.url).resolve('@tensorflow/tfjs-node-gpu/package.json'));
const loadable = join(real, 'lib/napi-v8/quiet.node');

const METADATA = 'Name: tensorflow\n';

/**
 * A package like tfjs-node, an empty cache, and a PATH with a fake pip and compiler as given: each appends a line to `calls`
 * and copies its output.
 */
function workbench(tools: { pip?: 'works' | 'fails'; compiler?: 'works' | 'fails' | 'is old' }) {
  const root = realpathSync(scratch());
  const at = (path: string) => join(root, path);
  for (const path of ['bin', 'package/binding', 'package/scripts']) mkdirSync(at(path), { recursive: true });
  writeFileSync(at('package/binding/tfjs_backend.cc'), '');
  writeFileSync(at('package/package.json'), '{"version": "4.22.0"}');
  writeFileSync(at('calls'), '');
  writeFileSync(
    at('wheel'),
    makeZip([
      { name: 'tensorflow/libtensorflow_cc.so.2', content: bytes('cc') },
      { name: 'tensorflow/libtensorflow_framework.so.2', content: bytes('framework') },
      { name: 'tensorflow/include/tensorflow/c/c_api.h', content: bytes('header') },
      { name: 'tensorflow/python/tf.py', content: bytes('python') },
      { name: 'tensorflow-2.21.0.dist-info/METADATA', content: bytes(METADATA) },
      // as in CUDA's wheels, which this one replaces too
      { name: 'nvidia/cublas/lib/libcublas.so.12', content: bytes('cublas') },
      { name: 'nvidia/cublas/include/cublas.h', content: bytes('cublas header') },
    ]),
  );
  const tool = (name: string, does: string) => {
    writeFileSync(
      at(`bin/${name}`),
      `#!/bin/sh\n[ "$1" = --version ] && exit 0\ncase "$*" in *"pip --version") exit 0;; esac\n` +
        `echo "${name} $*" >> ${at('calls')}\n${does}\n`,
    );
    chmodSync(at(`bin/${name}`), 0o755);
  };
  const after = (flag: string) => `while [ "$1" != ${flag} ]; do shift; done`;
  if (tools.pip === 'works') {
    const record = `/bin/cat "$2/requirement.txt" >> ${at('required')}`;
    tool('python3', `${after('--dest')}; ${record}; /bin/cp ${at('wheel')} "$2/tensorflow-2.21.0.whl"`);
  }
  if (tools.pip === 'fails') tool('python3', 'echo "ERROR: no index" >&2; exit 1');
  if (tools.compiler === 'works') tool('g++', `${after('-o')}; /bin/cp ${loadable} "$2"`);
  if (tools.compiler === 'fails') tool('g++', 'echo "tfjs_backend.cc:1: error: no" >&2; exit 1');
  if (tools.compiler === 'is old') {
    tool(
      'g++',
      `case "$*" in *kernels.node*) echo "head.cc:27:1: error: bad target" >&2; exit 1;; esac; ${after('-o')}; /bin/cp ${loadable} "$2"`,
    );
  }
  vi.stubEnv('PATH', at('bin'));
  vi.stubEnv('CXX', '');
  return {
    folder: at('package'),
    cache: at('cache'),
    at,
    /** The requirements that pip got. */
    required: () => readFileSync(at('required'), 'utf8').split('\n').slice(0, -1),
    calls: () => readFileSync(at('calls'), 'utf8').split('\n').slice(0, -1),
    install: (variant: 'cpu' | 'gpu' = 'cpu') =>
      install({ folder: at('package'), cache: at('cache'), variant, log: () => {} }),
  };
}

const errorOf = (run: Promise<unknown>) => run.then(() => 'no error', describeError);

it('unpacks the wheel, compiles the addon and links the package to both', async () => {
  const bench = workbench({ pip: 'works', compiler: 'works' });
  const done = await bench.install();
  const runtime = runtimePath(bench.cache, 'cpu');
  expect(done).toEqual({ changed: true, variant: 'cpu', runtime, folder: bench.folder });
  expect(readFileSync(join(bench.folder, 'deps/lib/libtensorflow.so'), 'utf8')).toBe('cc');
  expect(readFileSync(join(bench.folder, 'deps/lib/libtensorflow_framework.so'), 'utf8')).toBe('framework');
  expect(readFileSync(join(bench.folder, 'deps/include/tensorflow/c/c_api.h'), 'utf8')).toBe('header');
  expect(existsSync(join(bench.folder, 'lib/napi-v8/tfjs_binding.node'))).toBe(true);
  expect(readdirSync(runtime).filter((name) => !name.startsWith('addon-'))).toEqual(['deps']);
  expect(bench.calls()[0]).toContain('--only-binary=:all:');
  expect(bench.required()).toEqual([expect.stringMatching(/^tensorflow-cpu==2\.21\.0 --hash=sha256:/)]);
});

it('unpacks CUDA’s libraries, at fixed versions, where the CUDA build looks for them', async () => {
  const bench = workbench({ pip: 'works', compiler: 'works' });
  const { runtime } = await bench.install('gpu');
  expect(readFileSync(join(runtime!, 'deps/nvidia/cublas/lib/libcublas.so.12'), 'utf8')).toBe('cublas');
  expect(existsSync(join(runtime!, 'deps/nvidia/cublas/include'))).toBe(false);
  expect(bench.required()).toEqual(wheelRequirements('gpu', 'x64'));
});

it('runs no tool again once everything is installed, for this or another project of the same user', async () => {
  const bench = workbench({ pip: 'works', compiler: 'works' });
  await bench.install();
  const before = bench.calls();
  expect((await bench.install()).changed).toBe(false);
  mkdirSync(bench.at('second/binding'), { recursive: true });
  writeFileSync(bench.at('second/binding/tfjs_backend.cc'), '');
  const second = await install({ folder: bench.at('second'), cache: bench.cache, variant: 'cpu', log: () => {} });
  expect(second.changed).toBe(true);
  expect(existsSync(bench.at('second/lib/napi-v8/tfjs_binding.node'))).toBe(true);
  expect(bench.calls()).toEqual(before);
});

it('keeps the installed build and cache by default', async () => {
  const bench = workbench({ pip: 'works', compiler: 'works' });
  await bench.install('gpu');
  expect(await install({ folder: bench.folder, log: () => {} })).toEqual({
    changed: false,
    variant: 'gpu',
    runtime: runtimePath(bench.cache, 'gpu'),
    folder: bench.folder,
  });
});

it('reports pip’s error, and leaves neither half a runtime nor a changed package', async () => {
  const bench = workbench({ pip: 'fails', compiler: 'works' });
  const text = await errorOf(bench.install());
  expect(text).toContain('pip could not download tensorflow-cpu==2.21.0.\nERROR: no index');
  expect(text).toContain('  - check that `python3 -m pip download');
  expect(readdirSync(bench.cache)).toEqual([]);
  expect(readdirSync(bench.folder).sort()).toEqual(['binding', 'package.json', 'scripts']);
});

it('names the compiler to install before any download', async () => {
  const bench = workbench({ pip: 'works' });
  const text = await errorOf(bench.install());
  expect(text).toContain('There is no C++ compiler');
  expect(text).toContain('  - Debian, Ubuntu: `apt-get install g++`');
  expect(bench.calls()).toEqual([]);
});

it('reports the compiler’s error, keeps the runtime, and needs no second download', async () => {
  const bench = workbench({ pip: 'works', compiler: 'fails' });
  expect(await errorOf(bench.install())).toContain(
    'g++ could not build tfjs_binding.node:\ntfjs_backend.cc:1: error: no',
  );
  expect(readdirSync(runtimePath(bench.cache, 'cpu'))).toEqual(['deps']);
  expect(existsSync(join(bench.folder, 'lib'))).toBe(false);
  await errorOf(bench.install());
  expect(bench.calls().filter((call) => call.startsWith('python3'))).toHaveLength(1);
});

it('warns and installs without the native kernels if the compiler cannot build them', async () => {
  const bench = workbench({ pip: 'works', compiler: 'is old' });
  const said: string[] = [];
  await install({ folder: bench.folder, cache: bench.cache, variant: 'cpu', log: (line) => said.push(line) });
  expect(said.at(-1)).toMatch(
    /^Warning: training will be slower: g\+\+ could not build kernels\.node:\nhead\.cc:27:1: error/,
  );
  expect(readdirSync(join(bench.folder, 'lib/napi-v8')).sort()).toEqual(['quiet.node', 'tfjs_binding.node']);
});

it('uses the package’s own installer without pip, and does not change the file shared with pnpm’s store', async () => {
  const bench = workbench({ compiler: 'works' });
  const store = bench.at('store.json');
  linkSync(join(bench.folder, 'package.json'), store);
  // as tfjs-node's does, this one rewrites package.json in place
  writeFileSync(
    join(bench.folder, 'scripts/install.js'),
    `const fs = require('fs');
     fs.writeFileSync('package.json', JSON.stringify(process.argv.slice(2)));
     fs.mkdirSync('lib/napi-v8', { recursive: true });
     fs.writeFileSync('lib/napi-v8/tfjs_binding.node', '');`,
  );
  const said: string[] = [];
  const options = {
    folder: bench.folder,
    cache: bench.cache,
    variant: 'cpu',
    log: (line: string) => said.push(line),
  } as const;
  expect(await install(options)).toEqual({ changed: true, variant: 'cpu', runtime: undefined, folder: bench.folder });
  expect(said).toEqual([expect.stringMatching(/^Warning: There is no pip.* has TensorFlow 2\.9\.1 from 2022\.$/)]);
  expect(readFileSync(join(bench.folder, 'package.json'), 'utf8')).toBe('["cpu","download"]');
  expect(readFileSync(store, 'utf8')).toBe('{"version": "4.22.0"}');
  expect((await install(options)).changed).toBe(false);
});

it('names pip if the package’s own installer fails too', async () => {
  const bench = workbench({ compiler: 'works' });
  writeFileSync(join(bench.folder, 'scripts/install.js'), "console.error('no host'); process.exit(1);");
  const text = await errorOf(bench.install());
  expect(text).toContain('There is no pip. It is needed to download TensorFlow 2.21.0.');
  expect(text).toContain('own installer failed:\nno host');
  expect(text).toContain('`apt-get install python3-pip`');
});
