import * as tf from '@tensorflow/tfjs-core';
import { type AdaptedModule, type AdapterPart, adapterTensors } from '../adapter/lora-config';
import { mergedWeight } from '../adapter/merge';
import type { AdapterFolder } from './adapter-folder';
import type { Checkpoint } from './read-checkpoint';
import { PART_VALUES, storedTensor } from './stored-tensor';
import type { TensorValues } from './write-checkpoint';

/** Some rows of a weight, before and after an adapter was merged into it. */
export interface MergedRows {
  readonly module: AdaptedModule;
  /** `[rows, in]`, row-major. */
  readonly base: Float32Array;
  /** As `base`, in float32, not yet rounded to the type of the file. */
  readonly merged: Float32Array;
}

/**
 * The tensors of a model with an adapter merged into it, to be written. Weights are read and merged in parts of 4 MB, whole rows.
 *
 * @param model the base model's weights
 * @param adapter an adapter of this model
 * @param onRows called with each part before it is written
 * @returns in the order of the base model; both checkpoints must stay open until the tensors are written
 */
export function mergedTensors(
  model: Checkpoint,
  adapter: AdapterFolder,
  onRows: (rows: MergedRows) => void | Promise<void> = () => {},
): TensorValues[] {
  const modules = new Map(adapter.modules.map((module) => [`${module.name}.weight`, module]));
  return model.names().map((name) => {
    const module = modules.get(name);
    if (!module) return storedTensor(model, name);
    return { name, shape: module.shape, data: () => mergeModule(model, name, adapter, module, onRows) };
  });
}

async function* mergeModule(
  model: Checkpoint,
  name: string,
  adapter: AdapterFolder,
  module: AdaptedModule,
  onRows: (rows: MergedRows) => void | Promise<void>,
): AsyncGenerator<Float32Array> {
  const [outFeatures, inFeatures] = module.shape;
  const rowsAtOnce = Math.max(1, Math.floor(PART_VALUES / inFeatures));
  const parts = new Map<AdapterPart, tf.Tensor>();
  try {
    for (const { name, shape, part } of adapterTensors([module], adapter.config)) {
      parts.set(part, tf.tensor(await adapter.checkpoint.read(name), [...shape], 'float32'));
    }
    for (let row = 0; row < outFeatures; row += rowsAtOnce) {
      const rows = Math.min(rowsAtOnce, outFeatures - row);
      const base = await model.read(name, { start: row * inFeatures, count: rows * inFeatures });
      const rowsOf = (part: AdapterPart) => parts.has(part) && tf.slice(parts.get(part)!, row, rows);
      const result = tf.tidy(() =>
        mergedWeight(tf.tensor2d(base, [rows, inFeatures]), {
          a: parts.get('A') as tf.Tensor2D,
          b: rowsOf('B') as tf.Tensor2D,
          magnitude: (rowsOf('magnitude') || undefined) as tf.Tensor1D | undefined,
          scaling: module.scaling,
        }),
      );
      const merged = (await result.data()) as Float32Array;
      result.dispose();
      await onRows({ module, base, merged });
      yield merged;
    }
  } finally {
    tf.dispose([...parts.values()]);
  }
}
