import { mkdtempSync, readdirSync, realpathSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as tf from '@tensorflow/tfjs-core';
import { afterAll } from 'vitest';
import { build, findCompiler } from '../../install/addon.mjs';
import { useNative } from '../../src/kernels/native';
import { uploadAmongWork } from '../../src/kernels/upload';

const sources = fileURLToPath(new URL('../../native/gpu', import.meta.url));

/** Makes this process run the operations for GPUs, on a GPU that the processor plays (emulated.cc). */
export function useEmulatedGpu(): void {
  const require = createRequire(import.meta.url);
  const tfjs = dirname(require.resolve('@tensorflow/tfjs-node-gpu/package.json'));
  require(join(tfjs, 'lib/napi-v8/kernels.node')); // defines the operations
  const folder = mkdtempSync(join(tmpdir(), 'wpo-gpu-'));
  afterAll(() => rmSync(folder, { recursive: true }));
  const hardware = ['cuda.cc', 'stream.cc'];
  const addon = {
    name: 'emulated.node',
    sources: [
      ...readdirSync(sources)
        .filter((name) => name.endsWith('.cc') && !hardware.includes(name))
        .map((name) => join(sources, name)),
      fileURLToPath(new URL('emulated.cc', import.meta.url)),
    ],
    flags: ['-O1', '-fvisibility=hidden'],
    libraries: ['libtensorflow_framework.so.2'],
  };
  build(findCompiler()!, addon, dirname(realpathSync(join(tfjs, 'deps'))), folder);
  const { operations } = require(join(folder, addon.name)) as { operations: string[] };
  uploadAmongWork(tf.backend() as unknown as { binding: object });
  useNative({ device: 'gpu', products: true, operations });
}
