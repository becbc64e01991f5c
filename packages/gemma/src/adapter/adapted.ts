import * as tf from '@tensorflow/tfjs-core';
import { describe } from '@wpo/internal/describe';
import { printable } from '@wpo/internal/printable';
import { seededRandom } from '@wpo/internal/random';
import type { Gemma2 } from '../model';
import type { Kernels, Weight } from '../ops/contract';
import { portableKernels } from '../ops/portable';
import { type Parameter, parameter } from '../parameter';
import { mapWeights, parametersOf } from '../weights';
import { type Dora, type RowNorms, rowNorms } from './dora';
import type { Pass } from './dropout';
import {
  type AdaptedModule,
  type AdapterTensor,
  adaptedModules,
  adapterTensors,
  type LoraConfig,
  loraDefaults,
} from './lora-config';
import { type AdaptedWeight, isAdapted } from './lora-linear';

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
   * The parameters' values, by PEFT's names (`adapterTensors`). Takes ownership of the tensors. Default: initial values as
   * PEFT's, uniform in ±1/√in for A, 0 for B and the norms of W's rows for DoRA's magnitudes. The model then computes
   * exactly what its base computes.
   */
  readonly tensors?: ReadonlyMap<string, tf.Tensor>;
  /** The kernels that the model runs on. Default `portableKernels`. */
  readonly kernels?: Kernels;
}

/**
 * Adds an adapter to a model. The result shares the weights of `base`, which stays as it is and may run beside it, as the
 * reference of preference training, or under another adapter. `gemmaPolicy` trains the adapter only.
 *
 * @param config PEFT's settings; those left out have PEFT's defaults
 * @throws Error for a setting that chooses no module of the model, a model with an adapter, or tensors that are missing,
 *   unexpected or misshapen; RangeError for a seed out of range
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
  if (parametersOf(base).some(isAdapted)) {
    throw new Error('adapted: expected a model without an adapter, found an adapted one. Give its base model.');
  }
  const modules = adaptedModules(settings, base.config, 'adapted: targetModules');
  if (tensors) checkTensors(adapterTensors(modules, settings), tensors);
  const random = seededRandom(seed);
  const parameters: Parameter[] = [];
  const allNorms: RowNorms[] = [];
  const adapt = (w: Weight, tensorName: string): Weight => {
    const module = modules.find(({ name }) => `${name}.weight` === tensorName);
    if (!module) return frozen(w);
    const add = ({ name, shape }: AdapterTensor, initial: (shape: readonly number[]) => tf.Tensor) => {
      const added = parameter(name, tensors?.get(name) ?? initial(shape), { kernels });
      parameters.push(added);
      return added;
    };
    const [tensorA, tensorB, tensorMagnitude] = adapterTensors([module], settings) as ModuleTensors;
    const { scaling } = module;
    const view = frozen(w);
    const a = add(tensorA, (shape) => kaimingUniform(shape, random));
    const b = add(tensorB, (shape) => tf.zeros([...shape]));
    let dora: Dora<Parameter> | null = null;
    if (tensorMagnitude) {
      const norms = rowNorms(kernels, view, a, b, scaling);
      allNorms.push(norms);
      dora = { magnitude: add(tensorMagnitude, () => norms.inPass(EVALUATION).clone()), norms };
    }
    const rate = settings.loraDropout;
    const dropout = rate > 0 ? { rate, seed, module: modules.indexOf(module) } : null;
    const weight: AdaptedWeight<Parameter> = { ...view, lora: { a, b, scaling, dora, dropout } };
    return weight;
  };
  const weights = mapWeights(base, adapt);
  const dispose = () => {
    for (const one of [...parameters, ...allNorms]) one.dispose();
  };
  return { config: base.config, ...weights, adapter: { config: settings, modules, parameters, dispose } };
}

type ModuleTensors = [a: AdapterTensor, b: AdapterTensor, magnitude?: AdapterTensor];

const EVALUATION: Pass = { training: false, dropoutKeys: () => null };

/** A view of a weight without a gradient. */
const frozen = (w: Weight) => ({
  name: w.name,
  shape: w.shape,
  trainable: false as const,
  value: () => w.value(),
  accumulate() {},
});

/** PyTorch's kaiming_uniform_ with a = √5, as in PEFT: uniform in ±1/√in. */
function kaimingUniform(shape: readonly number[], random: () => number): tf.Tensor {
  const [r, inFeatures] = shape as [number, number];
  const bound = 1 / Math.sqrt(inFeatures);
  return tf.tensor2d(
    Float32Array.from({ length: r * inFeatures }, () => (2 * random() - 1) * bound),
    [r, inFeatures],
  );
}

function checkTensors(expected: readonly AdapterTensor[], tensors: ReadonlyMap<string, tf.Tensor>): void {
  const names = new Set(expected.map(({ name }) => name));
  const problems: string[] = [];
  for (const { name, shape } of expected) {
    const found = tensors.get(name)?.shape;
    if (found === undefined) problems.push(`no ${name}`);
    else if (String(found) !== String(shape)) problems.push(`${name} of shape [${found}], expected [${shape}]`);
  }
  for (const name of tensors.keys()) if (!names.has(name)) problems.push(`an unexpected ${printable(name, 200)}`);
  if (problems.length === 0) return;
  const more = problems.length > 8 ? ` and ${problems.length - 8} more` : '';
  throw new Error(
    `adapted: tensors: expected the ${names.size} parameters of the adapter, found ${problems.slice(0, 8).join('; ')}${more}.`,
  );
}
