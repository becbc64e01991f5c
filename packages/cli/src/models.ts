import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type ActivationOffload,
  adapted,
  type FrozenWeight,
  type Gemma2,
  type GemmaPolicy,
  gemmaPolicy,
  type Kernels,
  type LoraConfig,
  loadWeights,
  type ModelUse,
  type Parameter,
  type PolicyOptions,
  type Precision,
  parametersOf,
  type TensorLoader,
  WEIGHT_DTYPES,
} from '@wpo/gemma';
import {
  readModelFolder,
  type TensorValues,
  writeAdapterFiles,
  writeAdapterFolder,
  writeModelFiles,
  writeModelFolder,
} from '@wpo/gemma/node';
import type { SummaryWriter } from '@wpo/tensorflow';
import type { AvailableMemory, MasterWeights, WeightStorage, WeightStorageOptions } from '@wpo/tensorflow/kernels';
import {
  type GradientOffload,
  type OptimizerKernel,
  type SavedTensor,
  savedTensor,
  type TrainOptions,
  valuesInParts,
} from '@wpo/trainer';
import { hashFiles, hashJson } from '@wpo/trainer/node';
import { type AdapterChoice, addAdapter, copyTensors } from './adapters';
import { fromInput, UserError } from './errors';
import { activationBudget, checkMemory, type TrainingMemory, warnOfMappedWeights } from './memory';
import { yamlKey } from './schemas/schema';
import type { TrainConfig } from './schemas/train';
import type { Terminal } from './terminal/terminal';

/** The native operations of TensorFlow that commands compute with. */
export interface Backend {
  readonly kernels: Kernels;
  /** Loads a checkpoint's tensors for training. */
  readonly loadTensor: TensorLoader;
  /** How weights that are not trained are held. */
  readonly storage: WeightStorage;
  /**
   * The updates of an optimizer; undefined for portable ones.
   *
   * @throws {UserError} if its state or gradients are in memory of the CPU, and no native operations run on a GPU, which that needs
   */
  readonly optimizer: (offload: Offload) => OptimizerKernel | undefined;
  /** Memory of the CPU for gradients; undefined if they are not there. @throws {UserError} as `optimizer` */
  readonly gradients: (offload: Offload) => GradientOffload | undefined;
  /** Memory of the CPU for inputs of layers; undefined if they are not there. @throws {UserError} as `optimizer` */
  readonly activations: (offload: Offload) => ActivationOffload | undefined;
  readonly computeNorm: TrainOptions['computeNorm'];
  /** Measures the memory that can still hold tensors. */
  readonly availableMemory: () => AvailableMemory | undefined;
  /** Measures the memory that this process can still allocate on the host. */
  readonly hostMemory: () => AvailableMemory;
  /** What computes. */
  readonly device: 'cpu' | 'gpu';
  /** The version of TensorFlow. */
  readonly version: string;
  /** Opens an event file of TensorBoard in a folder. */
  readonly summaryWriter: (folder: string) => SummaryWriter;
  /** Measures the memory in use, in bytes: of tensors and weights on a GPU, else of this process. */
  readonly usedMemory: () => number;
  /** Bytes of the weights that are mapped from files. */
  readonly mappedBytes: () => number;
}

/** The number types that a command computes with. */
export interface NumberTypes {
  /** How weights that are not trained are held. Default `auto`. */
  readonly dtype?: WeightStorageOptions['dtype'];
  /** Of matrix products and activations. Default `float32`. */
  readonly precision?: Precision;
  /** How weights that are trained are held in bfloat16. Default: they are float32. */
  readonly masterWeights?: MasterWeights | undefined;
}

/**
 * Makes TensorFlow the backend of tfjs. The import is here, so that `wpo --help` and an invalid config load no TensorFlow.
 *
 * @throws {UserError} if TensorFlow is missing; the message says how to install it
 */
export const loadBackend = ({ dtype, precision, masterWeights }: NumberTypes = {}): Promise<Backend> =>
  fromInput(async () => {
    const { tensorflowVersion, summaryWriter } = await import('@wpo/tensorflow'); // first: it sets the backend that the kernels are made for
    const tensorflow = await import('@wpo/tensorflow/kernels');
    return {
      kernels: tensorflow.tensorflowKernels({ precision }),
      loadTensor: tensorflow.tensorflowTensorLoader(masterWeights),
      storage: tensorflow.weightStorage({ dtype }),
      optimizer(offload) {
        checkOffload(offload, tensorflow.nativeDevice());
        const { offloadOptimizer, offloadGradients } = offload;
        if (offloadOptimizer === 'cpu') return tensorflow.offloadedOptimizer();
        if (offloadGradients === 'cpu') return tensorflow.offloadedOptimizer({ state: 'gpu' });
        return tensorflow.tensorflowOptimizer();
      },
      gradients(offload) {
        checkOffload(offload, tensorflow.nativeDevice());
        return offload.offloadGradients === 'cpu' ? tensorflow.offloadedGradients() : undefined;
      },
      activations(offload) {
        checkOffload(offload, tensorflow.nativeDevice());
        return offload.offloadActivations === 'cpu' ? tensorflow.offloadedActivations() : undefined;
      },
      computeNorm: tensorflow.tensorflowGradientNorm(),
      availableMemory: tensorflow.availableMemory,
      hostMemory: tensorflow.processMemory,
      device: tensorflow.nativeDevice(),
      version: tensorflowVersion,
      summaryWriter,
      usedMemory: tensorflow.usedMemory,
      mappedBytes: () => tensorflow.storedBytes().mapped,
    };
  });

/** What a run keeps in memory of the CPU while a GPU computes. */
export type Offload = Pick<TrainConfig, (typeof OFFLOADS)[number]>;

const OFFLOADS = ['offloadOptimizer', 'offloadGradients', 'offloadActivations'] as const;

/** @throws {UserError} if something is to be in memory of the CPU, and no GPU computes */
export function checkOffload(offload: Offload, device: 'cpu' | 'gpu'): void {
  const kept = {
    offloadOptimizer: 'the optimizer’s state is',
    offloadGradients: 'gradients are',
    offloadActivations: 'inputs of layers are',
  } as const;
  for (const field of OFFLOADS) {
    if (device === 'gpu' || offload[field] === 'none') continue;
    throw new UserError(
      `${yamlKey(field)}: expected none, since no GPU computes with the native operations: ${kept[field]} in memory of the CPU ` +
        'already. Found cpu. Remove the key.',
    );
  }
}

/** A model in memory, with the settings from its folder. */
export interface LoadedModel {
  readonly folder: string;
  readonly policy: GemmaPolicy;
  /** The model without its adapter, with the same weights. Without an adapter it is `policy.model`. */
  readonly base: Gemma2;
  /** The contents of `config.json`. */
  readonly configJson: Readonly<Record<string, unknown>>;
  /** Number type that it is saved in: that of its weights on disk; float32 if that is F16, and for an adapter. */
  readonly dtype: 'float32' | 'bfloat16';
  /** Token ids that end an answer: those of the generation config, else of the config. */
  readonly stopIds: readonly number[];
  /** The settings of its adapter; undefined for a model without one. */
  readonly adapter: LoraConfig | undefined;
  /**
   * A policy that computes what this one computes before training. It shares the model's weights: with a new adapter it is the model
   * without the adapter, with one from a folder it has a copy of the adapter.
   *
   * @throws {Error} for a model without an adapter, whose weights training changes
   */
  startingPolicy(): Promise<GemmaPolicy>;
  dispose(): void;
}

export interface LoadOptions extends PolicyOptions {
  /** The model is then frozen, and the policy's parameters are those of the adapter. */
  readonly adapter?: AdapterChoice | undefined;
  /** Default `readTensor`. */
  readonly loadTensor?: TensorLoader;
  readonly storage: Backend['storage'];
  readonly availableMemory: Backend['availableMemory'];
  readonly mappedBytes: Backend['mappedBytes'];
  /**
   * What the model is for. It must fit in memory, which `checkRunMemory` checks for `train`. Activations are then kept in half of the
   * rest.
   */
  readonly use: ModelUse | ({ readonly kind: 'train' } & TrainingMemory);
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
    const { adapter, use } = options;
    if (use.kind !== 'train') {
      await checkMemory([{ folder, use, adapter }], options, options.terminal);
      await warnOfMappedWeights({ folder, use, adapter }, options, options.terminal);
    }
    const { config, configJson, stopIds, checkpoint } = await readModelFolder(folder);
    const owned: { dispose(): void }[] = [];
    try {
      for (const warning of checkpoint.warnings) options.terminal.stderr.write(`${warning}\n`);
      const base =
        use.kind === 'train' && adapter === undefined
          ? await loadWeights(config, checkpoint, options)
          : await loadWeights(config, checkpoint, { trainable: false, loadTensor: options.storage.loadTensor });
      owned.push(...parametersOf<FrozenWeight | Parameter>(base));
      const adaptedModel = adapter && (await addAdapter(base, adapter, options));
      if (adaptedModel) owned.push(adaptedModel.adapter);
      const model = adaptedModel ?? base;
      const available = use.kind === 'train' ? options.availableMemory()?.bytes : undefined;
      const activationBytes =
        use.kind !== 'train' || available === undefined
          ? undefined
          : activationBudget(model, { available, mapped: options.mappedBytes(), ...use });
      const policy = gemmaPolicy(model, { activationBytes, ...options });
      return {
        folder,
        policy,
        base,
        configJson,
        dtype: !adapter && checkpoint.info(base.embedTokens.name).dtype === 'BF16' ? 'bfloat16' : 'float32',
        stopIds,
        adapter: adaptedModel?.adapter.config,
        async startingPolicy() {
          if (!adaptedModel) throw new Error('startingPolicy: expected a model with an adapter, found one without.');
          if (!('folder' in adapter!)) return gemmaPolicy(base, options);
          const copy = await copyTensors(adaptedModel.adapter);
          const start = adapted(base, adaptedModel.adapter.config, { tensors: copy, kernels: options.kernels });
          owned.push(start.adapter);
          return gemmaPolicy(start, options);
        },
        dispose: () => owned.forEach((one) => void one.dispose()),
      };
    } catch (error) {
      for (const one of owned) one.dispose();
      throw error;
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

/** How a run writes its model. */
export interface SaveOptions {
  readonly dtype: 'float32' | 'bfloat16';
  /** The name of the model that an adapter belongs to, as the user gave it. */
  readonly baseModel: string;
  /** Its revision, if it is one on the Hub and not `main`. */
  readonly baseRevision?: string | undefined;
  /** Contents of more files by name, such as a model card. */
  readonly files?: Readonly<Record<string, string>> | undefined;
}

/** Writes a model's or an adapter's folder, with the tokenizer of the folder that the model came from. */
export function saveModel(
  folder: string,
  model: LoadedModel,
  { dtype, baseModel, baseRevision, files = {} }: SaveOptions,
): Promise<void> {
  const saved = {
    files,
    tensors: model.policy.parameters.map(({ name, value }) => toWrite(savedTensor(name, value()))),
    dtype: WEIGHT_DTYPES[dtype],
    copyFrom: model.folder,
  } as const;
  if (model.adapter) return writeAdapterFolder(folder, { config: model.adapter, baseModel, baseRevision, ...saved });
  return writeModelFolder(folder, { config: model.policy.model.config, configJson: model.configJson, ...saved });
}

/** Writes a model's or an adapter's files but its weights, so that a checkpoint's folder is one of a model or an adapter. */
export function saveModelFiles(
  folder: string,
  model: LoadedModel,
  { dtype, baseModel, baseRevision }: SaveOptions,
): Promise<void> {
  const copyFrom = model.folder;
  if (model.adapter) return writeAdapterFiles(folder, { config: model.adapter, baseModel, baseRevision, copyFrom });
  return writeModelFiles(folder, {
    config: model.policy.model.config,
    configJson: model.configJson,
    dtype: WEIGHT_DTYPES[dtype],
    copyFrom,
  });
}

/**
 * What number types add to the key of a cache of results. `dtype: auto` and `float32` add nothing, because they hold the same values:
 * results differ at most by float32 rounding, as between CPUs. `bfloat16` rounds weights that are not bfloat16 in their file (with exact
 * master weights, ties away from zero), and as a precision, the operands of products.
 */
export const roundingOf = ({
  dtype,
  precision,
  masterWeights,
}: NumberTypes): {
  readonly dtype?: 'bfloat16';
  readonly precision?: 'bfloat16';
  readonly masterWeights?: MasterWeights;
} => ({
  ...(dtype === 'bfloat16' && { dtype }),
  ...(precision === 'bfloat16' && { precision }),
  ...(masterWeights !== undefined && { masterWeights }),
});

/** A hash of the configuration and weights of a model, or of a model with an adapter. */
export async function hashModel(folder: string, adapter?: AdapterChoice): Promise<string> {
  const names = (await readdir(folder)).filter((name) => HASHED.test(name));
  const hash = await hashOnce(names.sort().map((name) => join(folder, name)));
  return adapter && 'folder' in adapter ? hashJson([hash, await hashModel(adapter.folder)]) : hash;
}

/**
 * `hashFiles`, which reads files that have not changed only once: a run needs the hash of its model three times, and reading the
 * 18.5 GB of Gemma-2 9B from a disk takes a minute or more.
 */
async function hashOnce(paths: readonly string[]): Promise<string> {
  const stats = await Promise.all(paths.map((path) => stat(path, { bigint: true })));
  const key = hashJson(
    stats.map(({ size, mtimeNs, ctimeNs, ino }, i) => [paths[i]!, `${size} ${mtimeNs} ${ctimeNs} ${ino}`]),
  );
  const hash = hashes.get(key) ?? (await hashFiles(paths));
  hashes.set(key, hash);
  return hash;
}

const hashes = new Map<string, string>();

const HASHED = /^(config\.json|model.*\.safetensors|adapter_(config\.json|model\.safetensors))$/;

const toWrite = (tensor: SavedTensor): TensorValues => ({
  name: tensor.name,
  shape: tensor.shape,
  data: () => valuesInParts(tensor),
});
