import '@wpo/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import {
  type ActivationCheckpointing,
  type Gemma2,
  type Gemma2Config,
  type GemmaPolicy,
  gemmaPolicy,
  loadWeights,
} from '@wpo/gemma';
import { readModelFolder } from '@wpo/gemma/node';
import { tensorflowKernels, tensorflowTensorLoader, weightStorage } from '@wpo/tensorflow/kernels';
import type { Dtype } from '../flags';

export const kernels = tensorflowKernels({
  precision: process.env.BENCH_PRECISION === 'bfloat16' ? 'bfloat16' : 'float32',
});

/** Loads a model to train all its weights, as `wpo train` does. */
export async function openPolicy(
  folder: string,
  activationCheckpointing: ActivationCheckpointing = 'auto',
): Promise<{ readonly policy: GemmaPolicy; readonly config: Gemma2Config }> {
  const { config, checkpoint } = await readModelFolder(folder);
  const model = await loadWeights(config, checkpoint, { kernels, loadTensor: tensorflowTensorLoader() });
  await checkpoint.close();
  return { policy: gemmaPolicy(model, { kernels, activationCheckpointing }), config };
}

/** Loads a model whose weights are only read, as `wpo generate` does. */
export async function openFrozen(folder: string, dtype: Dtype): Promise<Gemma2> {
  const { config, checkpoint } = await readModelFolder(folder);
  const { loadTensor } = weightStorage({ dtype });
  const model = await loadWeights(config, checkpoint, { loadTensor, trainable: false });
  await checkpoint.close();
  return model;
}

/** Waits until the device has finished all work on the policy's weights. */
export async function waitForDevice({ parameters }: GemmaPolicy): Promise<void> {
  const value = parameters[parameters.length - 1]!.value();
  if (value instanceof tf.Tensor) await waitForTensor(value);
  else value.read(0, 1);
}

/** Waits until a tensor has been computed. */
export async function waitForTensor(value: tf.Tensor): Promise<void> {
  const one = tf.tidy(() => tf.slice(tf.reshape(value, [value.size]), 0, 1));
  await one.data();
  one.dispose();
}

export const secondsSince = (start: number) => (performance.now() - start) / 1000;
