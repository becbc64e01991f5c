import { spawnSync } from 'node:child_process';
import * as tf from '@tensorflow/tfjs-core';
import { type AvailableMemory, processMemory } from '../process-memory';
import { usesGpu } from './native';
import { storedBytes } from './store';

/**
 * Returns a function that measures the memory available for tensors: of the GPU if TensorFlow uses one, else of this process;
 * undefined if nvidia-smi reports no GPU.
 *
 * TensorFlow keeps the GPU memory of disposed tensors for new ones, and nvidia-smi counts it as used. So the GPU's memory is
 * measured once, and what tensors and stored weights use is subtracted.
 */
export function memoryGauge(): () => AvailableMemory | undefined {
  let total: number | undefined;
  return () => {
    if (!usesGpu()) return processMemory();
    const used = gpuBytes();
    total ??= freeGpuMemory() + used;
    return Number.isNaN(total) ? undefined : { bytes: Math.max(0, total - used), limit: 'GPU' };
  };
}

/** Bytes in use: of tensors and stored weights on a GPU; without one, of this process, mapped files included. */
export const usedMemory = (): number => (usesGpu() ? gpuBytes() : process.memoryUsage.rss());

const gpuBytes = () => tf.memory().numBytes + storedBytes().allocated;

/** See `memoryGauge`. */
export const availableMemory = memoryGauge();

/** The free memory of the visible GPU that has the least, according to nvidia-smi; NaN if nvidia-smi reports nothing. */
function freeGpuMemory(): number {
  const visible = process.env.CUDA_VISIBLE_DEVICES;
  const query = [...(visible ? ['-i', visible] : []), '--query-gpu=memory.free', '--format=csv,noheader,nounits'];
  const { stdout } = spawnSync('nvidia-smi', query, { encoding: 'utf8' });
  const mib = [...(stdout ?? '').matchAll(/^(\d+)$/gm)].map(([, number]) => Number(number));
  return mib.length === 0 ? Number.NaN : Math.min(...mib) * 2 ** 20;
}
