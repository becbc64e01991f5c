import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import {
  type Gemma2,
  type GemmaPolicy,
  gemmaPolicy,
  type Kernels,
  loadWeights,
  type ModelUse,
  type Parameter,
  type PolicyOptions,
  parametersOf,
  type TensorLoader,
} from '@wpo/gemma';
import { openSafetensors, readModelFolder, writeModelFiles, writeModelFolder, writeSafetensors } from '@wpo/gemma/node';
import type { AvailableMemory } from '@wpo/tensorflow/kernels';
import type { AdamWKernel, NamedTensor, TrainOptions } from '@wpo/trainer';
import { hashFiles } from '@wpo/trainer/node';
import { fromInput } from './errors';
import { checkMemory } from './memory';
import type { Terminal } from './terminal/terminal';

/** The native operations of TensorFlow that commands compute with. */
export interface Backend {
  readonly kernels: Kernels;
  /** Loads a checkpoint's tensors to the device that computes. */
  readonly loadTensor: TensorLoader;
  /** Undefined if the portable update is used. */
  readonly adamW: AdamWKernel | undefined;
  readonly computeNorm: TrainOptions['computeNorm'];
  /** Measures the memory that can still hold tensors. */
  readonly availableMemory: () => AvailableMemory | undefined;
}

/**
 * Makes TensorFlow the backend of tfjs. The import is here, so that `wpo --help` and an invalid config load no TensorFlow.
 *
 * @throws {UserError} if TensorFlow is missing; the message says how to install it
 */
export const loadBackend = (): Promise<Backend> =>
  fromInput(async () => {
    await import('@wpo/tensorflow'); // first: it sets the backend that the kernels are made for
    const tensorflow = await import('@wpo/tensorflow/kernels');
    return {
      kernels: tensorflow.tensorflowKernels(),
      loadTensor: tensorflow.tensorflowTensorLoader(),
      adamW: tensorflow.tensorflowAdamW(),
      computeNorm: tensorflow.tensorflowGradientNorm(),
      availableMemory: tensorflow.availableMemory,
    };
  });

/** A model in memory, with the settings from its folder. */
export interface LoadedModel {
  readonly folder: string;
  readonly policy: GemmaPolicy;
  /** The contents of `config.json`. */
  readonly configJson: Readonly<Record<string, unknown>>;
  /** Number type of its weights on disk; float32 if that is F16, which cannot be written. */
  readonly dtype: 'float32' | 'bfloat16';
  /** Token ids that end an answer: those of the generation config, else of the config. */
  readonly stopIds: readonly number[];
  dispose(): void;
}

export interface LoadOptions extends PolicyOptions {
  /** Default `readTensor`. */
  readonly loadTensor?: TensorLoader;
  readonly availableMemory: Backend['availableMemory'];
  /** What the model is for. It must fit in memory. For `train`, activations are kept in half of the rest. */
  readonly use: ModelUse;
  readonly terminal: Terminal;
}

/**
 * Loads a Gemma-2 model.
 *
 * @param options the kernels to compute with, and which activations the policy keeps
 * @throws {UserError} naming file, key or tensor, if the folder has no complete model; with the numbers, if it does not fit in memory
 */
export const loadModel = (folder: string, options: LoadOptions): Promise<LoadedModel> =>
  fromInput(async () => {
    await checkMemory([{ folder, use: options.use }], options, options.terminal);
    const { config, configJson, stopIds, checkpoint } = await readModelFolder(folder);
    try {
      for (const warning of checkpoint.warnings) options.terminal.stderr.write(`${warning}\n`);
      const model = await loadWeights(config, checkpoint, options);
      const left = options.use.kind === 'train' ? options.availableMemory()?.bytes : undefined;
      const activationBytes = left === undefined ? undefined : activationBudget(model, left);
      const policy = gemmaPolicy(model, { activationBytes, ...options });
      const [embedding] = policy.parameters;
      return {
        folder,
        policy,
        configJson,
        dtype: checkpoint.info(embedding!.name).dtype === 'BF16' ? 'bfloat16' : 'float32',
        stopIds,
        dispose: () => policy.parameters.forEach((parameter) => void parameter.dispose()),
      };
    } finally {
      await checkpoint.close();
    }
  });

/** Loads a model for some work, and frees it after the work, also after an error. */
export async function withModel<T>(
  folder: string,
  options: LoadOptions,
  work: (model: LoadedModel) => Promise<T>,
): Promise<T> {
  const model = await loadModel(folder, options);
  try {
    return await work(model);
  } finally {
    model.dispose();
  }
}

/**
 * Bytes for kept activations: half of the memory that remains after gradients and both of AdamW's moments. None remains if the user
 * has turned off the check that the model fits; then everything is recomputed.
 */
function activationBudget(model: Gemma2<Parameter>, left: number): number {
  const weights = parametersOf(model).reduce((total, { shape }) => total + 4 * tf.util.sizeFromShape([...shape]), 0);
  return Math.max(0, (left - 3 * weights) / 2);
}

/** Writes a model's folder, with the tokenizer of the folder that the model came from. */
export const saveModel = (folder: string, model: LoadedModel, dtype: 'float32' | 'bfloat16'): Promise<void> =>
  writeModelFolder(folder, {
    config: model.policy.model.config,
    configJson: model.configJson,
    tensors: model.policy.parameters.map(({ name, shape, value }) => ({ name, shape, data: () => valuesOf(value()) })),
    dtype: dtype === 'bfloat16' ? 'BF16' : 'F32',
    copyFrom: model.folder,
  });

/** Writes a model's files but its weights, so that a checkpoint's folder is a model's folder. */
export const saveModelFiles = (folder: string, model: LoadedModel, dtype: 'float32' | 'bfloat16'): Promise<void> =>
  writeModelFiles(folder, {
    config: model.policy.model.config,
    configJson: model.configJson,
    dtype: dtype === 'bfloat16' ? 'BF16' : 'F32',
    copyFrom: model.folder,
  });

/** SHA-256 of a model's config and weights. */
export async function hashModel(folder: string): Promise<string> {
  const names = (await readdir(folder)).filter((name) => /^(config\.json|model.*\.safetensors)$/.test(name));
  return hashFiles(names.sort().map((name) => join(folder, name)));
}

/** Writes tensors in full precision, for a checkpoint. */
export const writeTensors = (path: string, tensors: Iterable<NamedTensor>): Promise<void> =>
  writeSafetensors(
    path,
    Array.from(tensors, ({ name, tensor }) => ({
      name,
      shape: tensor.shape,
      dtype: 'F32',
      data: () => valuesOf(tensor),
    })),
  );

/** Reads the tensors of a file from `writeTensors`. The caller disposes them. */
export async function* readTensors(path: string): AsyncGenerator<NamedTensor> {
  const file = await openSafetensors(path);
  try {
    for (const name of file.names()) {
      yield { name, tensor: tf.tensor(await file.read(name), [...file.info(name).shape], 'float32') };
    }
  } finally {
    await file.close();
  }
}

const valuesOf = async (tensor: tf.Tensor) => (await tensor.data()) as Float32Array;
