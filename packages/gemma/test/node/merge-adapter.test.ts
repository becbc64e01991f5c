import '@wpo/tensorflow';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { adaptedModules, adapterTensors, loraDefaults } from '../../src/adapter/lora-config';
import { mergedWeight } from '../../src/adapter/merge';
import { gemma2_2b } from '../../src/config';
import { readAdapterFolder, writeAdapterFolder } from '../../src/node/adapter-folder';
import { type MergedRows, mergedTensors } from '../../src/node/merge-adapter';
import { type Checkpoint, openSafetensors } from '../../src/node/read-checkpoint';
import { writeSafetensors } from '../../src/node/write-checkpoint';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'wpo-merge-'));
});
afterEach(() => rm(dir, { recursive: true }));

// Both weights are merged in two parts, of 1,024 + 1 rows and of 1,023 + 1 rows.
const SHAPES = { 'mlp.gate_proj': [1025, 1024], 'mlp.down_proj': [1024, 1025] } as const;
const config = { ...gemma2_2b, hiddenSize: 1024, intermediateSize: 1025, numHiddenLayers: 1 };
const lora = { ...loraDefaults, r: 3, targetModules: ['gate_proj', 'down_proj'] };

const random = (shape: readonly number[], seed: number) => tf.randomNormal([...shape], 0, 1, 'float32', seed);
const tensorOf = async (file: Checkpoint, name: string) =>
  tf.tensor(await file.read(name), [...file.info(name).shape], 'float32');

test.each(['LoRA', 'DoRA'])(
  '%s: weights are merged in parts, each with the bits of its rows merged alone',
  async (kind) => {
    const settings = { ...lora, useDora: kind === 'DoRA' };
    const names = Object.keys(SHAPES).map((name) => `model.layers.0.${name}.weight`);
    const path = join(dir, 'model.safetensors');
    const weights = Object.values(SHAPES).map((shape, i) => random(shape, i));
    const values = async (tensor: tf.Tensor) => (await tensor.data()) as Float32Array;
    await writeSafetensors(
      path,
      names.map((name, i) => ({ name, shape: weights[i]!.shape, dtype: 'BF16', data: () => values(weights[i]!) })),
    );
    const modules = adaptedModules(settings, config, 'target_modules');
    const tensors = adapterTensors(modules, settings).map(({ name, shape }, i) => {
      const tensor = random(shape, 10 + i);
      return { name, shape, data: () => values(tensor) };
    });
    await writeAdapterFolder(join(dir, 'adapter'), { config: settings, baseModel: '', tensors, dtype: 'F32' });

    const [model, adapter] = [await openSafetensors(path), await readAdapterFolder(join(dir, 'adapter'), config)];
    const parts: MergedRows[] = [];
    const merged = mergedTensors(model, adapter, (rows) => void parts.push(rows));
    expect(merged.map(({ name }) => name)).toEqual(names);
    for (const [i, { shape, data }] of merged.entries()) {
      const module = modules.find(({ name }) => `${name}.weight` === names[i])!;
      const [a, b, magnitude] = await Promise.all(
        adapterTensors([module], settings).map(({ name }) => tensorOf(adapter.checkpoint, name)),
      );
      const w = (await tensorOf(model, names[i]!)) as tf.Tensor2D;
      const rows = i === 0 ? [1024, 1] : [1023, 1];
      const expected = rows.map((count, part) => {
        const rowsOf = <T extends tf.Tensor>(tensor: tf.Tensor) =>
          tf.slice(tensor, part === 0 ? 0 : rows[0]!, count) as T;
        return mergedWeight(rowsOf<tf.Tensor2D>(w), {
          a: a as tf.Tensor2D,
          b: rowsOf<tf.Tensor2D>(b!),
          magnitude: magnitude && rowsOf<tf.Tensor1D>(magnitude),
          scaling: module.scaling,
        });
      });
      const found: Float32Array[] = [];
      for await (const part of data() as AsyncIterable<Float32Array>) found.push(part);
      expect(shape).toEqual(w.shape);
      const own = await Promise.all(expected.map(values));
      expect(found.map((part, k) => bytesOf(part).equals(bytesOf(own[k]!)))).toEqual([true, true]);
      const calls = parts.filter((part) => part.module.name === module.name);
      expect(Buffer.concat(calls.map(({ base }) => bytesOf(base))).equals(bytesOf(await values(w)))).toBe(true);
      expect(calls.map((part, i) => part.merged === found[i])).toEqual([true, true]);
    }
    await Promise.all([model.close(), adapter.checkpoint.close()]);
  },
);

const bytesOf = ({ buffer, byteOffset, byteLength }: Float32Array) => Buffer.from(buffer, byteOffset, byteLength);
