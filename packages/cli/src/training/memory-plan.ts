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
import { longestPass, type PairLoss, type RuleOptimizer, type TokenPair } from '@wpo/trainer';
import { modulesOf } from '../adapters';
import { fromInput } from '../errors';
import { activationBudget, gradientBytes, heldBytes } from '../memory';
import { type Backend, checkOffload } from '../models';
import type { RunPairs } from '../pairs';
import { trainsAdapter } from '../schemas/adapter';
import type { TrainConfig } from '../schemas/train';
import { heldGradients, stateBytesOf, trainingMemory } from './optimizer';
import { adapterOf } from './references';

// The memory that a training run takes at its peak, before its models are read. Weights, gradients and moments follow from shapes.
// The passes of the longest micro-batch run with kernels that compute nothing and count memory, so that whatever the model, the tape
// and the output head keep is counted as they keep it.

/** A run to plan. The folders of its models are local. */
export interface PlannedRun {
  readonly config: TrainConfig;
  /** How many processes run it. The plan is of one. */
  readonly processes: number;
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
  /** Those that exist when the run holds most: on a CPU, each is made when the activations of its layer are freed. */
  readonly gradients: number;
  /** Gradients that are on the GPU at once, where they are in memory of the CPU. */
  readonly gradientParts: number;
  /** The optimizer's state: AdamW's two moments. */
  readonly state: number;
  /** Parts of the state that are on the GPU during the update, where the state is in memory of the CPU. */
  readonly stateParts: number;
  /** Values of a pass when they take most: those kept for the backward pass, and temporaries. */
  readonly activations: number;
  /** Inputs of layers in memory of the CPU. */
  readonly layerInputs: number;
  /** Inputs of layers that are on the GPU at once, where they are in memory of the CPU. */
  readonly layerInputParts: number;
  /** Logits at that moment. */
  readonly logits: number;
  /** On a GPU: freed memory that TensorFlow's allocator keeps at that moment, beside what is in use. */
  readonly unused: number;
  /** Weights in mapped files. The system reads them as they are used and may drop them, so they are in no sum. */
  readonly mapped: number;
  /** The most that kept activations may take: `activation_checkpointing: auto` recomputes the layers that do not fit. */
  readonly activationBytes: number;
  /** The number of the model's parameters. */
  readonly parameters: number;
  /** The number of those that are trained. */
  readonly trained: number;
  readonly longest: LongestPass;
}

/** The pass that takes the most memory: one micro-batch, or with `optimizer_in_bwd` or `offload_gradients` all of a step. */
export interface LongestPass {
  readonly pairs: number;
  readonly microBatches: number;
  /** Each prompt once, and both answers. */
  readonly tokens: number;
  readonly answerTokens: number;
}

/** The bytes of a plan. */
export type MemoryBytes = Omit<MemoryPlan, 'activationBytes' | 'longest'>;

/**
 * Plans the memory of a run. Reads the headers of its models, and no weights.
 *
 * @throws {UserError} if a folder has no model, or the adapter does not fit it
 */
export async function planMemory(run: PlannedRun, { device, available }: PlannedMachine): Promise<MemoryPlan> {
  const { config, pairs } = run;
  const { model, lora, shapes, held } = await planHeld(run, device);
  const longest = longestPass(pairs.train, passOptions(config)).map((batch) => batch.map((i) => pairs.train[i]!));
  const longestPairs = longest.flat();
  const activationBytes = activationBudget(shapes, {
    ...{ available: available - held.weights - held.reference, mapped: held.mapped },
    ...trainingMemory(config, run.processes),
  });
  const { perDeviceTrainBatchSize, gradientAccumulationSteps } = config;
  const { gradients, ...pass } = await countPasses({
    model,
    lora,
    passes: [longest, ...otherPasses(pairs.train, longest), longest],
    sumsPasses: perDeviceTrainBatchSize * gradientAccumulationSteps > longestPairs.length,
    device,
    countsGradients: countsGradients(config, device),
    precision: config.precision,
    activationCheckpointing: config.activationCheckpointing,
    offloadsActivations: config.offloadActivations === 'cpu',
    activationBytes,
  });
  return {
    ...held,
    ...pass,
    gradients: held.gradients + gradients,
    activationBytes,
    longest: {
      pairs: longestPairs.length,
      microBatches: longest.length,
      tokens: sum(longestPairs.map(({ prompt, chosen, rejected }) => prompt.length + chosen.length + rejected.length)),
      answerTokens: sum(longestPairs.map(({ chosen, rejected }) => chosen.length + rejected.length)),
    },
  };
}

/** The memory of a run whose passes take nothing: much faster to plan. @throws {UserError} as `planMemory` */
export async function leastMemory(run: PlannedRun, device: PlannedMachine['device']): Promise<MemoryBytes> {
  const { held } = await planHeld(run, device);
  return { ...held, activations: 0, layerInputs: 0, layerInputParts: 0, logits: 0, unused: 0 };
}

/** On a GPU gradients have memory of their own, and with updates in the backward pass they are freed in it. */
const countsGradients = ({ optimizerInBwd }: TrainConfig, device: PlannedMachine['device']) =>
  device === 'cpu' && !optimizerInBwd;

async function planHeld(run: PlannedRun, device: PlannedMachine['device']) {
  const { config } = run;
  const { model, lora, ...read } = await readModel(run);
  checkOffload(config, device);
  const base = heldOn(device, read.held);
  const reference = heldOn(device, await residentReference(run));
  const stateBytes = stateBytesOf(config, run.processes);
  const [offloadsState, offloadsGradients] = [config.offloadOptimizer === 'cpu', config.offloadGradients === 'cpu'];
  const shapes = modelOfShapes(model, shapeOnly, lora);
  const trained = trainableParameters(shapes);
  const { trainedBytes } = await import('@wpo/tensorflow/kernels');
  const weights = sum(trained.map(({ shape }) => trainedBytes(shape, config.masterWeights)));
  const gradients = offloadsGradients ? 'all' : heldGradients(config);
  const held = {
    weights: weights + (lora ? base.allocated : 0),
    reference: reference.allocated,
    gradients: countsGradients(config, device) ? 0 : gradientBytes(shapes, { gradients }),
    gradientParts: offloadsGradients
      ? gradientBytes(shapes, trainingMemory(config, run.processes)) + (await updatedGradients(config, trained))
      : 0,
    state: sum(trained.map(stateBytes)),
    stateParts: offloadsState ? await offloadedParts(trained, stateBytes) : 0,
    mapped: (lora ? base.mapped : 0) + reference.mapped,
    parameters: sum([...tensorShapes(model).values()].map(sizeOf)),
    trained: sum(trained.map(({ shape }) => sizeOf(shape))),
  };
  return { model, lora, shapes, held };
}

/** Two parts of the state of the largest weights (`offloadedOptimizer`). */
async function offloadedParts(trained: readonly Weight[], stateBytes: RuleOptimizer['stateBytes']): Promise<number> {
  const { OFFLOADED_PART } = await import('@wpo/tensorflow/kernels');
  const share = ({ shape }: Weight) => Math.min(1, OFFLOADED_PART / sizeOf(shape));
  return 2 * Math.max(...trained.map((weight) => share(weight) * stateBytes(weight)));
}

/** Gradients of two parts of the largest weights, or of two whole weights where they are not updated in parts (`offloadedOptimizer`). */
async function updatedGradients({ optim, masterWeights }: TrainConfig, trained: readonly Weight[]): Promise<number> {
  const { OFFLOADED_PART } = await import('@wpo/tensorflow/kernels');
  const most = optim === 'adafactor' || masterWeights === 'stochastic' ? Number.POSITIVE_INFINITY : OFFLOADED_PART;
  return 2 * 4 * Math.min(most, Math.max(...trained.map(({ shape }) => sizeOf(shape))));
}

const passOptions = ({ perDeviceTrainBatchSize, ...config }: TrainConfig) => ({
  batchSize: perDeviceTrainBatchSize,
  gradientAccumulationSteps: config.gradientAccumulationSteps,
  maxTokensPerPack: config.maxTokensPerPack,
  layerMajor: config.optimizerInBwd || config.offloadGradients === 'cpu',
});

/** Pairs by micro-batch that run in one pass. */
type PassPairs = readonly (readonly TokenPair[])[];

/** Some passes of a run, with as many pairs as the longest. What the allocator of a GPU keeps depends on their different sizes. */
function otherPasses(pairs: readonly TokenPair[], longest: PassPairs): PassPairs[] {
  const count = Math.min(Math.ceil(OTHERS / longest.length), Math.floor(pairs.length / longest.flat().length));
  let next = 0;
  return Array.from({ length: count }, () => longest.map((batch) => batch.map(() => pairs[next++]!)));
}

const OTHERS = 8;

/** A GPU holds weights that the CPU reads from a mapped file. */
const heldOn = (device: PlannedMachine['device'], { allocated, mapped }: WeightBytes): WeightBytes =>
  device === 'cpu' ? { allocated, mapped } : { allocated: allocated + mapped, mapped: 0 };

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

function shapeOnly(name: string, shape: readonly number[], trainable: boolean): Weight {
  const value = { shape, clone: () => value, dispose() {}, data: async () => [] };
  return { name, shape, trainable, value: () => value, accumulate() {} };
}

interface CountOptions {
  readonly model: Gemma2Config;
  readonly lora: LoraConfig | undefined;
  readonly passes: readonly PassPairs[];
  /** Whether a step sums the gradients of several passes. Each is then run twice in a step. */
  readonly sumsPasses: boolean;
  readonly device: 'cpu' | 'gpu';
  /** Whether sums of gradients take the memory of freed activations until a pass has ended. */
  readonly countsGradients: boolean;
  readonly precision: TrainConfig['precision'];
  readonly activationCheckpointing: TrainConfig['activationCheckpointing'];
  /** Whether the inputs of layers are in memory of the CPU. */
  readonly offloadsActivations: boolean;
  /** Memory for kept activations. */
  readonly activationBytes: number;
}

/** Counts the memory of forward and backward passes, one after the other. */
async function countPasses({ passes, sumsPasses, ...options }: CountOptions) {
  const { model, lora, device, countsGradients, precision, offloadsActivations, ...policyOptions } = options;
  const { countedOffload, countedWeights, countingKernels, MemoryCounter } = await import('@wpo/tensorflow/kernels');
  const counter = new MemoryCounter(device, { countsGradients });
  const kernels = countingKernels(counter, { precision });
  const offload = offloadsActivations ? countedOffload(counter) : undefined;
  const policy = gemmaPolicy(modelOfShapes(model, countedWeights(counter), lora), {
    kernels,
    offloadActivations: offload,
    ...policyOptions,
  });
  const run = async (pass: PassPairs) => {
    const packs = await policy.forwardPacks(pass, { train: true, step: 0 });
    for (const pack of packs) {
      const { logps } = await pack.terms();
      await pack.backward(new Float32Array(logps.length));
    }
    for (const pack of packs) pack.dispose();
  };
  for (const pass of passes) {
    for (const one of sumsPasses ? [pass, pass] : [pass]) await run(one);
    counter.zeroGradients();
  }
  const { activations, logits, gradients } = counter.peak;
  return {
    ...{ activations, logits, gradients },
    unused: counter.allocatedBytes - activations - logits - gradients,
    layerInputs: offload?.pinnedBytes ?? 0,
    layerInputParts: offload?.deviceBytes ?? 0,
  };
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
  const { activationCheckpointing, precision } = run.config;
  if (activationCheckpointing !== 'auto') return activationCheckpointing === 'never' ? model.numHiddenLayers : 0;
  const { countedWeights, countingKernels, MemoryCounter } = await import('@wpo/tensorflow/kernels');
  const bytesOf = async (layers: number) => {
    const counter = new MemoryCounter('cpu');
    const shapes = modelOfShapes(
      withLayers(model, layers),
      countedWeights(counter),
      lora && { ...lora, layersToTransform: null },
    );
    const kernels = countingKernels(counter, { precision });
    const policy = gemmaPolicy(shapes, { kernels, activationCheckpointing: 'never' });
    const forward = await policy.forward(microBatch, { train: true, step: 0 });
    counter.run();
    const { activations, logits } = counter.bytes;
    forward.dispose();
    return activations + logits;
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
