import '@wpo/tensorflow';
import { chmodSync, writeFileSync } from 'node:fs';
import { totalmem } from 'node:os';
import { delimiter, join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { memoryLeft, nativeOperations } from '@wpo/tensorflow/kernels';
import { afterEach, expect, test, vi } from 'vitest';
import { scratch } from './install/scratch';

afterEach(() => {
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
});

test('memoryLeft is the memory available to this process on the CPU', () => {
  expect(memoryLeft()).toBeGreaterThan(1e6);
  expect(memoryLeft()).toBeLessThanOrEqual(totalmem());
});

/** Makes TensorFlow report a GPU, and puts an `nvidia-smi` that runs `script` on the path. */
function withGpu(script: string): void {
  vi.spyOn(tf.backend() as unknown as { isUsingGpuDevice: boolean }, 'isUsingGpuDevice', 'get').mockReturnValue(true);
  const folder = scratch();
  const at = join(folder, 'nvidia-smi');
  writeFileSync(at, `#!/bin/sh\n${script}\n`);
  chmodSync(at, 0o755);
  vi.stubEnv('PATH', `${folder}${delimiter}${process.env.PATH}`);
}

test('memoryLeft is the free memory of the visible GPU that has the least', () => {
  withGpu('echo 81000; echo 1024');
  expect(memoryLeft()).toBe(2 ** 30);
});

test('memoryLeft counts only GPUs in CUDA_VISIBLE_DEVICES', () => {
  withGpu('[ "$2" = 3 ] && echo 7');
  vi.stubEnv('CUDA_VISIBLE_DEVICES', '3');
  expect(memoryLeft()).toBe(7 * 2 ** 20);
});

test('native operations that were not built for the GPU are not used, with a warning', () => {
  withGpu('echo 81000');
  const warned = vi.spyOn(process, 'emitWarning').mockReturnValue();
  expect(nativeOperations()).toBe(false);
  expect(warned).toHaveBeenCalledWith(
    expect.stringContaining('The native GPU operations cannot be used: they were not built'),
  );
});

test('memoryLeft is 0 if nvidia-smi reports no GPU', () => {
  withGpu('echo "No devices were found" >&2; exit 6');
  expect(memoryLeft()).toBe(0);
});
