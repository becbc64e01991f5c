import * as tf from '@tensorflow/tfjs-core';
import {
  type AdaptedGemma2,
  type AdaptedModule,
  type Adapter,
  adapted,
  adaptedModules,
  adapterTensors,
  type Gemma2,
  type Gemma2Config,
  type Kernels,
  type LoraConfig,
  loraDefaults,
} from '@wpo/gemma';
import { readAdapterFolder, readAdapterTensors } from '@wpo/gemma/node';

/** The adapter that a model gets: one in a folder, or a new one. The seed is that of dropout, and of a new adapter's values. */
export type AdapterChoice =
  | { readonly folder: string; readonly seed?: number }
  | { readonly settings: Partial<LoraConfig>; readonly seed: number };

/**
 * Adds an adapter to a model.
 *
 * @throws Error naming file, key or tensor, if it does not fit the model
 */
export async function addAdapter(
  base: Gemma2,
  choice: AdapterChoice,
  { kernels }: { readonly kernels?: Kernels | undefined },
): Promise<AdaptedGemma2> {
  const { config } = await modulesOf(choice, base.config);
  const { seed } = choice;
  if (!('folder' in choice)) return adapted(base, config, { seed, kernels });
  const folder = await readAdapterFolder(choice.folder, base.config);
  try {
    return adapted(base, config, { tensors: await readAdapterTensors(folder), seed, kernels });
  } finally {
    await folder.checkpoint.close();
  }
}

/** Copies of an adapter's values, by name. A clone would share memory that the optimizer writes into. */
export async function copyTensors({ parameters }: Adapter): Promise<Map<string, tf.Tensor>> {
  const copies = new Map<string, tf.Tensor>();
  for (const { name, shape, value } of parameters) {
    copies.set(name, tf.tensor((await value().data()) as Float32Array, [...shape], 'float32'));
  }
  return copies;
}

/**
 * The settings of an adapter, and the linear layers that it changes in a model.
 *
 * @throws Error naming file or key, if it does not fit the model
 */
export async function modulesOf(
  choice: AdapterChoice,
  model: Gemma2Config,
): Promise<{ readonly config: LoraConfig; readonly modules: readonly AdaptedModule[] }> {
  if (!('folder' in choice)) {
    const config = { ...loraDefaults, ...choice.settings };
    return { config, modules: adaptedModules(config, model, 'lora_target_modules') };
  }
  const { config, modules, checkpoint } = await readAdapterFolder(choice.folder, model);
  await checkpoint.close();
  return { config, modules };
}

/** The number of parameters of an adapter. @throws as `addAdapter` */
export async function countParameters(choice: AdapterChoice, model: Gemma2Config): Promise<number> {
  const { config, modules } = await modulesOf(choice, model);
  const sizes = adapterTensors(modules, config).map(({ shape }) => shape.reduce((size, n) => size * n, 1));
  return sizes.reduce((total, size) => total + size, 0);
}
