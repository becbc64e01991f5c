export { type AvailableMemory, processMemory } from '../process-memory';
export { tensorflowMatMul } from './answer-logps';
export {
  type CountingOptions,
  countedWeight,
  countingKernels,
  MemoryCounter,
  type MemoryKind,
  type MemoryParts,
} from './counting';
export { tensorflowKernels } from './kernels';
export { availableMemory } from './memory';
export { nativeOperations } from './native';
export { tensorflowGradientNorm, tensorflowOptimizer } from './optimizer';
export { type StoredType, storedBytes } from './store';
export { tensorflowTensorLoader, type WeightStorage, type WeightStorageOptions, weightStorage } from './tensor-loader';
