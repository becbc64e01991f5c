import '@wpo/tensorflow';
import { chmodSync, writeFileSync } from 'node:fs';
import { totalmem } from 'node:os';
import { delimiter, join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { availableMemory, nativeOperations } from '@wpo/tensorflow/kernels';
import { afterEach, expect, test, vi } from 'vitest';
import { memoryGauge } from '../src/kernels/memory';
import { scratch } from './install/scratch';

afterEach(() => {
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
});

test('availableMemory is that of this process on the CPU', () => {
  expect(availableMemory()!.bytes).toBeGreaterThan(1e6);
  expect(availableMemory()!.bytes).toBeLessThanOrEqual(totalmem());
  expect(availableMemory()!.limit).not.toBe('GPU');
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

// before the others, because the operations are loaded once
test('native operations that were not built for the GPU are not used, with a warning', () => {
  withGpu('echo 81000');
  const warned = vi.spyOn(process, 'emitWarning').mockReturnValue();
  expect(nativeOperations()).toBe(false);
  expect(warned).toHaveBeenCalledWith(
    expect.stringContaining('The native GPU operations cannot be used: they were not built'),
  );
});

test('on a GPU it is the free memory of the visible GPU that has the least', () => {
  withGpu('echo 81000; echo 1024');
  expect(memoryGauge()()).toEqual({ bytes: 2 ** 30, limit: 'GPU' });
});

test('on a GPU it is measured once, and the memory of tensors is subtracted', () => {
  withGpu('echo 1024');
  const available = memoryGauge();
  const before = available()!.bytes;
  const tensor = tf.zeros([1000]);
  withGpu('echo 1');
  expect(available()!.bytes).toBe(before - 4000);
  tensor.dispose();
  expect(available()!.bytes).toBe(before);
});

test('on a GPU only those in CUDA_VISIBLE_DEVICES count', () => {
  withGpu('[ "$2" = 3 ] && echo 7');
  vi.stubEnv('CUDA_VISIBLE_DEVICES', '3');
  expect(memoryGauge()()?.bytes).toBe(7 * 2 ** 20);
});

test('it is not known if nvidia-smi reports no GPU', () => {
  withGpu('echo "No devices were found" >&2; exit 6');
  expect(memoryGauge()()).toBeUndefined();
});
