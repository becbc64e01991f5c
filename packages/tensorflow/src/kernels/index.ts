export { tensorflowKernels, tensorflowProduct } from './kernels';
export { memoryLeft } from './memory';
export { nativeOperations } from './native';
export { tensorflowAdamW, tensorflowGradientNorm } from './optimizer';
export { tensorflowTensorLoader } from './tensor-loader';
