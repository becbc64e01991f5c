export { type AvailableMemory, processMemory } from '../process-memory';
export { tensorflowMatMul } from './answer-logps';
export { type CountedOffload, type CountingOptions, countedOffload, countedWeights, countingKernels } from './counting';
export { type KernelOptions, tensorflowKernels } from './kernels';
export { availableMemory, usedMemory } from './memory';
export { MemoryCounter, type MemoryKind, type MemoryParts } from './memory-counter';
export { nativeDevice, nativeOperations } from './native';
export { offloadedActivations } from './offloaded-activations';
export { offloadedGradients } from './offloaded-gradients';
export { OFFLOADED_PART, type OffloadedOptimizerOptions, offloadedOptimizer } from './offloaded-optimizer';
export { tensorflowGradientNorm, tensorflowOptimizer } from './optimizer';
export { storedBytes, type WeightType } from './store';
export {
  type MasterWeights,
  tensorflowTensorLoader,
  trainedBytes,
  type WeightStorage,
  type WeightStorageOptions,
  weightStorage,
} from './tensor-loader';
