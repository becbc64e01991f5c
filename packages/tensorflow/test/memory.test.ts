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

test('on a processor, memory left is what this process can have', () => {
  expect(memoryLeft()).toBeGreaterThan(1e6);
  expect(memoryLeft()).toBeLessThanOrEqual(totalmem());
});

/** A TensorFlow that says it is on a GPU, and an `nvidia-smi` that runs `script`. */
function withGpu(script: string): void {
  vi.spyOn(tf.backend() as unknown as { isUsingGpuDevice: boolean }, 'isUsingGpuDevice', 'get').mockReturnValue(true);
  const folder = scratch();
  const at = join(folder, 'nvidia-smi');
  writeFileSync(at, `#!/bin/sh\n${script}\n`);
  chmodSync(at, 0o755);
  vi.stubEnv('PATH', `${folder}${delimiter}${process.env.PATH}`);
}

test('on a GPU, it is that of the fullest GPU that is seen', () => {
  withGpu('echo 81000; echo 1024');
  expect(memoryLeft()).toBe(2 ** 30);
});

test('the driver is asked for the GPUs that this process may use', () => {
  withGpu('[ "$2" = 3 ] && echo 7');
  vi.stubEnv('CUDA_VISIBLE_DEVICES', '3');
  expect(memoryLeft()).toBe(7 * 2 ** 20);
});

test('fused operations that were not built for the GPU are told of, and left out', () => {
  withGpu('echo 81000');
  const warned = vi.spyOn(process, 'emitWarning').mockReturnValue();
  expect(nativeOperations()).toBe(false);
  expect(warned).toHaveBeenCalledWith(expect.stringContaining('those for GPUs were not built'));
});

test('where the driver says nothing, none is counted on', () => {
  withGpu('echo "No devices were found" >&2; exit 6');
  expect(memoryLeft()).toBe(0);
});
