import type { Kernels, TensorLoader } from '@wpo/gemma';
import type { AdamWKernel, TrainOptions } from '@wpo/trainer';
import { fromInput } from './errors';

/** What a command computes with. */
export interface Backend {
  readonly kernels: Kernels;
  /** How weights get from a checkpoint to where they are computed with. */
  readonly loadTensor: TensorLoader;
  /** Undefined where the composed update is the one to use. */
  readonly adamW: AdamWKernel | undefined;
  readonly norm: TrainOptions['computeNorm'];
  /** Bytes left where tensors lie. */
  readonly memoryLeft: () => number;
}

/**
 * Puts TensorFlow under tfjs. Not a plain import, since `wpo --help` and a wrong config need no TensorFlow.
 *
 * @throws {UserError} saying how to install it, where it is not there
 */
export const loadBackend = (): Promise<Backend> =>
  fromInput(async () => {
    await import('@wpo/tensorflow'); // first: the kernels are made for the backend that it sets
    const on = await import('@wpo/tensorflow/kernels');
    return {
      kernels: on.tensorflowKernels(),
      loadTensor: on.tensorflowTensorLoader(),
      adamW: on.tensorflowAdamW(),
      norm: on.tensorflowGradientNorm(),
      memoryLeft: on.memoryLeft,
    };
  });
