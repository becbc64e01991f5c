export type { AvailableMemory } from '../process-memory';
export { tensorflowMatMul } from './answer-logps';
export { tensorflowKernels } from './kernels';
export { availableMemory } from './memory';
export { nativeOperations } from './native';
export { tensorflowAdamW, tensorflowGradientNorm } from './optimizer';
export { tensorflowTensorLoader } from './tensor-loader';
