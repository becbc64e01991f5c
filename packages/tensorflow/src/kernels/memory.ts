import { spawnSync } from 'node:child_process';
import { freemem } from 'node:os';
import { usesGpu } from './native';

/** Bytes available for tensors: of the GPU if TensorFlow uses one, else of this process. */
export const memoryLeft = (): number => (usesGpu() ? gpuMemoryLeft() : processMemoryLeft());

/** A container's limit may be below the machine's free memory. */
const processMemoryLeft = () => Math.min(freemem(), process.availableMemory?.() ?? Number.POSITIVE_INFINITY);

/** The free memory of the visible GPU that has the least, according to nvidia-smi; 0 if nvidia-smi reports nothing. */
function gpuMemoryLeft(): number {
  const visible = process.env.CUDA_VISIBLE_DEVICES;
  const query = [...(visible ? ['-i', visible] : []), '--query-gpu=memory.free', '--format=csv,noheader,nounits'];
  const { stdout } = spawnSync('nvidia-smi', query, { encoding: 'utf8' });
  const mib = [...(stdout ?? '').matchAll(/^(\d+)$/gm)].map(([, number]) => Number(number));
  return mib.length === 0 ? 0 : Math.min(...mib) * 2 ** 20;
}
