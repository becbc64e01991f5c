import '@wpo/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import {
  type ActivationCheckpointing,
  type Gemma2Config,
  type GemmaPolicy,
  gemmaPolicy,
  loadWeights,
} from '@wpo/gemma';
import { readModelFolder } from '@wpo/gemma/node';
import { tensorflowKernels, tensorflowTensorLoader } from '@wpo/tensorflow/kernels';

export const kernels = tensorflowKernels();

/** Loads a model as `wpo train` does. */
export async function openPolicy(
  folder: string,
  activationCheckpointing: ActivationCheckpointing = 'auto',
): Promise<{ readonly policy: GemmaPolicy; readonly config: Gemma2Config }> {
  const { config, checkpoint } = await readModelFolder(folder);
  const model = await loadWeights(config, checkpoint, { kernels, loadTensor: tensorflowTensorLoader() });
  await checkpoint.close();
  return { policy: gemmaPolicy(model, { kernels, activationCheckpointing }), config };
}

/** Waits until the device has finished all work on the policy's weights. */
export const waitForDevice = ({ parameters }: GemmaPolicy): Promise<void> =>
  waitForTensor(parameters[parameters.length - 1]!.value());

/** Waits until a tensor has been computed. */
export async function waitForTensor(value: tf.Tensor): Promise<void> {
  const one = tf.tidy(() => tf.slice(tf.reshape(value, [value.size]), 0, 1));
  await one.data();
  one.dispose();
}

export const secondsSince = (start: number) => (performance.now() - start) / 1000;
