import * as tf from '@tensorflow/tfjs-core';
import { tensorflowVersion } from '@wpo/tensorflow';
import { nativeOperations } from '@wpo/tensorflow/kernels';

export interface FactsAnswer {
  readonly tensorflow: string;
  readonly device: 'processor' | 'gpu';
  /** Whether the fused operations in C++ are there. */
  readonly fused: boolean;
}

/** What computes here. */
export async function openFacts() {
  const { isUsingGpuDevice } = tf.backend() as unknown as { readonly isUsingGpuDevice: boolean };
  return async () => async (): Promise<FactsAnswer> => ({
    tensorflow: tensorflowVersion,
    device: isUsingGpuDevice ? 'gpu' : 'processor',
    fused: nativeOperations(),
  });
}
