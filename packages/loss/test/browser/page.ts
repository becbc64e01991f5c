// The functions that the test calls in the page by name.
import '@tensorflow/tfjs-backend-webgpu';
import * as tf from '@tensorflow/tfjs';
import { differentiate } from './differentiate';
import { train } from './train';

const setBackend = async (name: string) => {
  await tf.setBackend(name);
  await tf.ready();
  if (tf.getBackend() !== name) throw new Error(`tfjs chose ${tf.getBackend()} instead of ${name}`);
};

const hasWebGPU = async () => {
  const { gpu } = navigator as { gpu?: { requestAdapter(): Promise<unknown> } };
  return Boolean(await gpu?.requestAdapter());
};

Object.assign(globalThis, { train, differentiate, setBackend, hasWebGPU });
