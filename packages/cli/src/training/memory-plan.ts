import {
  type Gemma2Config,
  gemmaPolicy,
  type LoraConfig,
  modelOfShapes,
  tensorShapes,
  trainableParameters,
  type Weight,
  type WeightBytes,
} from '@wpo/gemma';
import { readModelFolder } from '@wpo/gemma/node';
import { longestMicroBatch, type PairLoss, type TokenPair } from '@wpo/trainer';
import { modulesOf } from '../adapters';
import { fromInput } from '../errors';
import { activationBudget, heldBytes, type TrainedWeight } from '../memory';
import type { Backend } from '../models';
import type { RunPairs } from '../pairs';
import { trainsAdapter } from '../schemas/adapter';
import type { TrainConfig } from '../schemas/train';
import { optimizerOf } from './optimizer';
import { adapterOf } from './references';

// The memory that a training run takes at its peak, before its models are read. Weights, gradients and moments follow from shapes.
// The passes of the longest micro-batch run with kernels that compute nothing and count memory, so that whatever the model, the tape
// and the output head keep is counted as they keep it.

/** A run to plan. The folders of its models are local. */
export interface PlannedRun {
  readonly config: TrainConfig;
  readonly loss: PairLoss;
  readonly pairs: RunPairs;
  readonly storage: Backend['storage'];
}

/** Where a run computes, and how much memory there is, in bytes. */
export interface PlannedMachine {
  readonly device: 'cpu' | 'gpu';
  /** For weights and passes: of the GPU, or of the host beside this process as it is now. */
  readonly available: number;
}

/** What a training run holds in memory when it holds most, in bytes. */
export interface MemoryPlan {
  /** Of the model and its adapter. */
  readonly weights: number;
  /** Of a reference that stays in memory. */
  readonly reference: number;
  readonly gradients: number;
  /** The optimizer's state: AdamW's two moments. */
  readonly state: number;
  /** Values of a pass when they take most: those kept for the backward pass, and temporaries. */
  readonly activations: number;
  /** Logits at that moment. */
  readonly logits: number;
  /** Freed memory of passes that TensorFlow's allocator keeps, beside what the largest pass takes. */
  readonly unused: number;
  /** Weights in mapped files. The system reads them as they are used and may drop them, so they are in no sum. */
  readonly mapped: number;
  /** The most that kept activations may take: `activation_checkpointing: auto` recomputes the layers that do not fit. */
  readonly activationBytes: number;
  /** The number of the model's parameters. */
  readonly parameters: number;
  /** The number of those that are trained. */
  readonly trained: number;
  readonly longest: LongestMicroBatch;
}

/** The micro-batch that takes the most memory. */
export interface LongestMicroBatch {
  readonly pairs: number;
  /** Each prompt once, and both answers. */
  readonly tokens: number;
  readonly answerTokens: number;
}

/**
 * Plans the memory of a run. Reads the headers of its models, and no weights.
 *
 * @throws {UserError} if a folder has no model, or the adapter does not fit it
 */
export async function planMemory(run: PlannedRun, { device, available }: PlannedMachine): Promise<MemoryPlan> {
  const { config, pairs } = run;
  const { model, lora, ...read } = await readModel(run);
  const held = heldOn(device, read.held);
  const reference = heldOn(device, await residentReference(run));
  const { perDeviceTrainBatchSize: batchSize, maxTokensPerPack } = config;
  const longest = longestMicroBatch(pairs.train, { batchSize, maxTokensPerPack }).map((index) => pairs.train[index]!);
  const { stateBytes } = optimizerOf(config);
  const trained = trainedWeights(model, lora);
  const trainedValues = sum(trained.map(({ shape }) => sizeOf(shape)));
  const { trainedBytes } = await import('@wpo/tensorflow/kernels');
  const weights =
    sum(trained.map(({ shape }) => trainedBytes(shape, config.masterWeights))) + (lora ? held.allocated : 0);
  const mapped = (lora ? held.mapped : 0) + reference.mapped;
  const activationBytes = activationBudget(trained, {
    ...{ available: available - weights - reference.allocated, mapped },
    stateBytes,
  });
  const pass = await countPasses({
    model,
    lora,
    microBatches: [longest, ...otherMicroBatches(pairs.train, longest.length), longest],
    device,
    precision: config.precision,
    activationCheckpointing: config.activationCheckpointing,
    activationBytes,
  });
  return {
    weights,
    reference: reference.allocated,
    gradients: FLOAT32 * trainedValues,
    state: sum(trained.map(stateBytes)),
    ...pass,
    ...{ mapped, activationBytes },
    parameters: sum([...tensorShapes(model).values()].map(sizeOf)),
    trained: trainedValues,
    longest: {
      pairs: longest.length,
      tokens: sum(longest.map(({ prompt, chosen, rejected }) => prompt.length + chosen.length + rejected.length)),
      answerTokens: sum(longest.map(({ chosen, rejected }) => chosen.length + rejected.length)),
    },
  };
}

/** Some micro-batches of a run. What the allocator keeps depends on their different sizes. */
const otherMicroBatches = (pairs: readonly TokenPair[], size: number): TokenPair[][] =>
  Array.from({ length: Math.min(OTHERS, Math.floor(pairs.length / size)) }, (_, i) =>
    pairs.slice(i * size, (i + 1) * size),
  );

const OTHERS = 8;

/** A GPU holds weights that the CPU reads from a mapped file. */
const heldOn = (device: PlannedMachine['device'], { allocated, mapped }: WeightBytes): WeightBytes =>
  device === 'cpu' ? { allocated, mapped } : { allocated: allocated + mapped, mapped: 0 };

const FLOAT32 = 4;
const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
const sizeOf = (shape: readonly number[]) => shape.reduce((size, n) => size * n, 1);

async function readModel({ config, storage }: PlannedRun) {
  const { config: model, checkpoint } = await fromInput(() => readModelFolder(config.modelNameOrPath));
  await checkpoint.close();
  const adapter = adapterOf(config);
  const lora = adapter && (await fromInput(() => modulesOf(adapter, model))).config;
  return { model, lora, held: heldBytes(model, checkpoint, storage) };
}

/** The weights of a reference that stays in memory beside the model. */
async function residentReference({ config, loss, storage }: PlannedRun) {
  const { refModelNameOrPath, modelNameOrPath, precomputeRefLogProbs } = config;
  const isShared = trainsAdapter(config) && refModelNameOrPath === undefined;
  if (loss.needsReference === false || precomputeRefLogProbs || isShared) return { allocated: 0, mapped: 0 };
  const { config: model, checkpoint } = await fromInput(() => readModelFolder(refModelNameOrPath ?? modelNameOrPath));
  await checkpoint.close();
  return heldBytes(model, checkpoint, storage);
}

function trainedWeights(model: Gemma2Config, lora: LoraConfig | undefined): readonly TrainedWeight[] {
  const value = { shape: [], clone: () => value, dispose() {}, data: async () => [] };
  const shapeOnly = (name: string, shape: readonly number[], trainable: boolean): Weight => ({
    ...{ name, shape, trainable },
    value: () => value,
    accumulate() {},
  });
  return trainableParameters(modelOfShapes(model, shapeOnly, lora));
}

interface CountOptions {
  readonly model: Gemma2Config;
  readonly lora: LoraConfig | undefined;
  readonly microBatches: readonly (readonly TokenPair[])[];
  readonly device: 'cpu' | 'gpu';
  readonly precision: TrainConfig['precision'];
  readonly activationCheckpointing: TrainConfig['activationCheckpointing'];
  /** Memory for kept activations. */
  readonly activationBytes: number;
}

/** Counts the memory of the forward and backward passes of micro-batches, one after the other. */
async function countPasses({ model, lora, microBatches, device, precision, ...options }: CountOptions) {
  const { countedWeight, countingKernels, MemoryCounter } = await import('@wpo/tensorflow/kernels');
  const counter = new MemoryCounter();
  const kernels = countingKernels(counter, { device, precision });
  const policy = gemmaPolicy(modelOfShapes(model, countedWeight, lora), { kernels, ...options });
  for (const pairs of microBatches) {
    const forward = await policy.forward(pairs, { train: true, step: 0 });
    const { logps } = await forward.terms();
    await forward.backward(new Float32Array(logps.length));
    forward.dispose();
    counter.run();
  }
  const { activations, logits } = counter.peak;
  return { activations, logits, unused: counter.allocatedBytes - activations - logits };
}

/**
 * The number of layers whose activations a run keeps for the backward pass of a micro-batch; the others are recomputed.
 *
 * @param activationBytes the most that kept activations may take
 */
export async function keptLayers(
  run: PlannedRun,
  activationBytes: number,
  microBatch: readonly TokenPair[],
): Promise<number> {
  const { model, lora } = await readModel(run);
  const { activationCheckpointing } = run.config;
  if (activationCheckpointing !== 'auto') return activationCheckpointing === 'never' ? model.numHiddenLayers : 0;
  const { countedWeight, countingKernels, MemoryCounter } = await import('@wpo/tensorflow/kernels');
  const bytesOf = async (layers: number) => {
    const counter = new MemoryCounter();
    const shapes = modelOfShapes(
      withLayers(model, layers),
      countedWeight,
      lora && { ...lora, layersToTransform: null },
    );
    const kernels = countingKernels(counter, { device: 'cpu' });
    const policy = gemmaPolicy(shapes, { kernels, activationCheckpointing: 'never' });
    const forward = await policy.forward(microBatch, { train: true, step: 0 });
    counter.run();
    const { bytes } = counter;
    forward.dispose();
    return bytes;
  };
  if (model.numHiddenLayers === 1) return (await bytesOf(1)) <= activationBytes ? 1 : 0;
  const ofLayer = (await bytesOf(2)) - (await bytesOf(1));
  return Math.min(model.numHiddenLayers, Math.floor(activationBytes / ofLayer));
}

/** The configuration of a model's first layers. */
export const withLayers = (model: Gemma2Config, layers: number): Gemma2Config => ({
  ...model,
  numHiddenLayers: layers,
  layerTypes: model.layerTypes.slice(0, layers),
});
