import * as tf from '@tensorflow/tfjs-core';
import { describe } from '@wpo/internal/describe';
import { printable } from '@wpo/internal/printable';
import { seededRandom } from '@wpo/internal/random';
import type { Gemma2 } from '../model';
import type { Kernels, Weight } from '../ops/contract';
import { portableKernels } from '../ops/portable';
import { mapWeights, type Parameter, parameter } from '../weights';
import { type Dora, type RowNorms, rowNorms } from './dora';
import { type AdaptedModule, adaptedModules, type LoraConfig, loraDefaults } from './lora-config';
import type { AdaptedWeight } from './lora-linear';

/** A model with an adapter: the weights of a base model, frozen, and trainable parameters beside its linear layers. */
export interface AdaptedGemma2 extends Gemma2 {
  readonly adapter: Adapter;
}

/** An adapter of a model. */
export interface Adapter {
  readonly config: LoraConfig;
  /** The linear layers that it changes, in checkpoint order. */
  readonly modules: readonly AdaptedModule[];
  /** Its parameters under PEFT's names, module by module. */
  readonly parameters: readonly Parameter[];
  /** Frees the parameters. The base model is not changed. */
  dispose(): void;
}

export interface AdapterOptions {
  /** Seed of the initial values and of dropout: a whole number of at least 0. Default 0. */
  readonly seed?: number;
  /**
   * The parameters' values, by PEFT's names (`adapterShapes`). Takes ownership of the tensors. Default: initial values as
   * PEFT's, uniform in ±1/√in for A, 0 for B and the norms of W's rows for DoRA's magnitudes, so that the model computes what its base computes.
   */
  readonly tensors?: ReadonlyMap<string, tf.Tensor>;
  /** The kernels that the model runs on. Default `portableKernels`. */
  readonly kernels?: Kernels;
}

/** PEFT's names of a module's parameters. */
const parameterNames = ({ name }: AdaptedModule) => ({
  a: `base_model.model.${name}.lora_A.weight`,
  b: `base_model.model.${name}.lora_B.weight`,
  magnitude: `base_model.model.${name}.lora_magnitude_vector`,
});

/** Every tensor of an adapter by PEFT's name, with its shape. */
export function adapterShapes(modules: readonly AdaptedModule[], useDora: boolean): Map<string, readonly number[]> {
  const shapes = new Map<string, readonly number[]>();
  for (const module of modules) {
    const [outFeatures, inFeatures] = module.shape;
    const names = parameterNames(module);
    shapes.set(names.a, [module.r, inFeatures]).set(names.b, [outFeatures, module.r]);
    if (useDora) shapes.set(names.magnitude, [outFeatures]);
  }
  return shapes;
}

/**
 * Adds an adapter to a model. The result shares the weights of `base`, which stays as it is and may run beside it, as the
 * reference of preference training, or under another adapter. `gemmaPolicy` trains the adapter only.
 *
 * @param config PEFT's settings; those left out have PEFT's defaults
 * @throws Error for a setting that chooses no module of the model, or tensors that are missing, unexpected or misshapen;
 *   RangeError for a seed out of range
 */
export function adapted(
  base: Gemma2,
  config: Partial<LoraConfig>,
  { seed = 0, tensors, kernels = portableKernels }: AdapterOptions = {},
): AdaptedGemma2 {
  const settings: LoraConfig = { ...loraDefaults, ...config };
  if (!Number.isSafeInteger(seed) || seed < 0) {
    throw new RangeError(`adapted: seed: expected a whole number of at least 0, found ${describe(seed)}.`);
  }
  const modules = adaptedModules(settings, base.config, 'adapted: targetModules');
  if (tensors) checkTensors(adapterShapes(modules, settings.useDora), tensors);
  const random = seededRandom(seed);
  const parameters: Parameter[] = [];
  const add = (name: string, initial: () => tf.Tensor) => {
    const added = parameter(name, tensors?.get(name) ?? initial(), { kernels });
    parameters.push(added);
    return added;
  };
  const byTensorName = new Map(modules.map((module, index) => [`${module.name}.weight`, { ...module, index }]));
  const allNorms: RowNorms[] = [];
  const adapt = (w: Weight, tensorName: string): Weight => {
    const module = byTensorName.get(tensorName);
    if (!module) return frozen(w);
    const names = parameterNames(module);
    const { r, scaling, shape } = module;
    const [outFeatures, inFeatures] = shape;
    const a = add(names.a, () => kaimingUniform([r, inFeatures], random));
    const b = add(names.b, () => tf.zeros([outFeatures, r]));
    const view = frozen(w);
    let dora: Dora<Parameter> | null = null;
    if (settings.useDora) {
      const norms = rowNorms(kernels, view, a, b, scaling);
      allNorms.push(norms);
      const initial = () => norms.inPass({ training: false, dropoutKeys: () => null }).clone();
      dora = { magnitude: add(names.magnitude, initial), norms };
    }
    const rate = settings.loraDropout;
    const dropout = rate > 0 ? { rate, seed, module: module.index } : null;
    const weight: AdaptedWeight<Parameter> = { ...view, lora: { a, b, scaling, dora, dropout } };
    return weight;
  };
  const weights = mapWeights(base, adapt);
  const dispose = () => {
    for (const one of [...parameters, ...allNorms]) one.dispose();
  };
  return { config: base.config, ...weights, adapter: { config: settings, modules, parameters, dispose } };
}

/** A view of a weight without a gradient. */
const frozen = (w: Weight) => ({
  name: w.name,
  shape: w.shape,
  trainable: false as const,
  value: () => w.value(),
  accumulate() {},
});

/** PyTorch's kaiming_uniform_ with a = √5, as in PEFT: uniform in ±1/√in. */
function kaimingUniform(shape: readonly [number, number], random: () => number): tf.Tensor {
  const bound = 1 / Math.sqrt(shape[1]);
  return tf.tensor2d(
    Float32Array.from({ length: shape[0] * shape[1] }, () => (2 * random() - 1) * bound),
    [...shape],
  );
}

function checkTensors(shapes: ReadonlyMap<string, readonly number[]>, tensors: ReadonlyMap<string, tf.Tensor>): void {
  const problems: string[] = [];
  for (const [name, shape] of shapes) {
    const found = tensors.get(name)?.shape;
    if (found === undefined) problems.push(`no ${name}`);
    else if (String(found) !== String(shape)) {
      problems.push(`${name} of shape [${found}], expected [${shape}]`);
    }
  }
  for (const name of tensors.keys()) if (!shapes.has(name)) problems.push(`an unexpected ${printable(name, 200)}`);
  if (problems.length === 0) return;
  const more = problems.length > 8 ? ` and ${problems.length - 8} more` : '';
  throw new Error(
    `adapted: tensors: expected the ${shapes.size} parameters of the modules, found ${problems.slice(0, 8).join('; ')}${more}.`,
  );
}
