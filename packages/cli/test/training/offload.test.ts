import '@wpo/tensorflow';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { gemma2_2b } from '@wpo/gemma';
import { beforeAll, expect, test } from 'vitest';
import { useEmulatedGpu } from '../../../tensorflow/test/gpu/addons';
import { readTrainConfig, train } from '../../src/index';
import { goldenConfig, readMetrics, temporaryFolder, timeless } from '../golden';
import { sparseModel } from '../sparse-model';
import { capture } from '../wpo';

// `wpo train` on the emulated GPU (packages/tensorflow/test/gpu/emulated.cc), whose copies run as late as they may.

const folder = temporaryFolder();
const pairs = join(folder, 'pairs.jsonl');

let model: string;
beforeAll(async () => {
  const rows = ['What is red?', 'Why?'].map((prompt) => JSON.stringify({ prompt, chosen: 'A rose.', rejected: 'No.' }));
  writeFileSync(pairs, rows.join('\n'));
  model = smallModel();
  await useEmulatedGpu();
  (tf.backend() as unknown as { isUsingGpuDevice: boolean }).isUsingGpuDevice = true;
});

/** The folder of a model of 0.06M parameters. */
function smallModel(): string {
  const sizes = { vocabSize: 1722, hiddenSize: 32, intermediateSize: 16, numHiddenLayers: 2 };
  const heads = { numAttentionHeads: 2, numKeyValueHeads: 1, headDim: 8, queryPreAttnScalar: 8, slidingWindow: 8 };
  const model = sparseModel({ ...gemma2_2b, ...sizes, ...heads, layerTypes: ['sliding_attention', 'full_attention'] });
  const file = join(model, 'model.safetensors');
  const bytes = readFileSync(file);
  const start = 8 + Number(bytes.readBigUInt64LE(0));
  for (let at = start; at < bytes.length; at += 2) {
    const value = new DataView(new ArrayBuffer(4));
    value.setFloat32(0, Math.sin(at * at) / 8);
    bytes.writeUInt16LE(value.getUint16(0), at); // the upper half is bfloat16
  }
  writeFileSync(file, bytes);
  return model;
}

/** Trains for two steps. Returns the bytes of the model and the optimizer's state, and the metrics. */
async function trained(name: string, settings: Record<string, unknown>) {
  const run = join(folder, name);
  const all = {
    ...settings,
    model_name_or_path: model,
    train_file: pairs,
    output_dir: run,
    num_train_epochs: 2,
    max_steps: 2,
    activation_checkpointing: 'always',
  };
  const set = Object.entries(all).map(([key, value]) => `${key}=${value}`);
  expect(await train(await readTrainConfig(goldenConfig(folder), set), {}, capture())).toBe(0);
  const hash = (file: string) => readFileSync(join(run, file)).toString('base64');
  return {
    model: hash('model/model.safetensors'),
    state: hash('checkpoint-2/optimizer.safetensors'),
    metrics: timeless(readMetrics(run)),
  };
}

test('with state, gradients and inputs of layers in memory of the host, a run has the bits of one on the GPU', async () => {
  const batch = { per_device_train_batch_size: 2, gradient_accumulation_steps: 1 };
  const offload = { offload_optimizer: 'cpu', offload_gradients: 'cpu', offload_activations: 'cpu' };
  const resident = await trained('resident', batch);
  const offloaded = await trained('offloaded', { ...batch, ...offload });
  expect(resident.metrics.filter((row) => row.grad_norm! > 0)).toHaveLength(2);
  expect(offloaded.metrics).toEqual(resident.metrics);
  expect(offloaded.model === resident.model).toBe(true);
  expect(offloaded.state === resident.state).toBe(true);
});
