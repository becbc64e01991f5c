export type { AvailableMemory } from '../process-memory';
export { tensorflowMatMul } from './answer-logps';
export { tensorflowKernels } from './kernels';
export { availableMemory } from './memory';
export { nativeOperations } from './native';
export { tensorflowGradientNorm, tensorflowOptimizer } from './optimizer';
export { type StoredType, storedBytes } from './store';
export { tensorflowTensorLoader, type WeightStorage, type WeightStorageOptions, weightStorage } from './tensor-loader';
