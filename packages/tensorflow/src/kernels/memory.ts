import { spawnSync } from 'node:child_process';
import { freemem } from 'node:os';
import { usesGpu } from './native';

/** Bytes left where tensors lie: for this process, or on the GPU where TensorFlow uses one. */
export const memoryLeft = (): number => (usesGpu() ? gpuMemoryLeft() : processMemoryLeft());

/** A container may be given less than the machine has. */
const processMemoryLeft = () => Math.min(freemem(), process.availableMemory?.() ?? Number.POSITIVE_INFINITY);

/** On the fullest of the GPUs that this process sees, as NVIDIA's driver says; 0 where it says nothing. */
function gpuMemoryLeft(): number {
  const seen = process.env.CUDA_VISIBLE_DEVICES;
  const asked = [...(seen ? ['-i', seen] : []), '--query-gpu=memory.free', '--format=csv,noheader,nounits'];
  const { stdout } = spawnSync('nvidia-smi', asked, { encoding: 'utf8' });
  const mib = [...(stdout ?? '').matchAll(/^(\d+)$/gm)].map(([, number]) => Number(number));
  return mib.length === 0 ? 0 : Math.min(...mib) * 2 ** 20;
}
