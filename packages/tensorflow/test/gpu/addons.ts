import { mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as tf from '@tensorflow/tfjs-core';
import { addons, build, findCompiler } from '../../install/addon.mjs';
import { useNative } from '../../src/kernels/native';
import { uploadWithoutSync } from '../../src/kernels/upload';

const require = createRequire(import.meta.url);
const tfjs = dirname(require.resolve('@tensorflow/tfjs-node-gpu/package.json'));
const { gpu } = addons(join(tfjs, 'binding'));

function buildAndLoad(addon: typeof gpu): { readonly operations: string[]; readonly missing: string } {
  const folder = mkdtempSync(join(tmpdir(), 'wpo-gpu-'));
  try {
    build(findCompiler()!, addon, dirname(realpathSync(join(tfjs, 'deps'))), folder);
    return require(join(folder, addon.name));
  } finally {
    rmSync(folder, { recursive: true }); // a loaded library needs its file no more
  }
}

/** The GPU addon as it is installed. */
export const loadGpuAddon = () => buildAndLoad(gpu);

/** Makes this process run the GPU operations on a GPU emulated on the CPU (emulated.cc). */
export function useEmulatedGpu(): void {
  require(join(tfjs, 'lib/napi-v8/kernels.node')); // defines the operations
  const hardware = /(cuda|nvrtc|stream)\.cc$/;
  const { operations } = buildAndLoad({
    ...gpu,
    name: 'emulated.node',
    sources: [
      ...gpu.sources.filter((path) => !hardware.test(path)),
      fileURLToPath(new URL('emulated.cc', import.meta.url)),
    ],
  });
  uploadWithoutSync(tf.backend() as unknown as { binding: object });
  useNative({ device: 'gpu', operations });
}
