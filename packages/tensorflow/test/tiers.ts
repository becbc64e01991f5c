import type { Kernels } from '@wpo/gemma';
import type { AdamWKernel, Parameter } from '@wpo/trainer';
import { afterAll, beforeAll } from 'vitest';
import type { LogitLimits } from '../src/kernels/answer-logps';
import { nativeKernels } from '../src/kernels/kernels';
import { nativeOperations } from '../src/kernels/native';
import { nativeAdamW, nativeGradientNorm } from '../src/kernels/optimizer';

/** A set of kernels on TensorFlow that must give the results of the portable ones. */
export interface Tier {
  readonly kernels: (limits?: LogitLimits) => Kernels;
  readonly update: AdamWKernel;
  readonly norm: (parameters: readonly Parameter[]) => Promise<number>;
}

nativeOperations(); // loads the native operations

export const nativeTier: Tier = { kernels: nativeKernels, update: nativeAdamW, norm: nativeGradientNorm };

/** The instruction sets of native/gemm/isa.h, the best first. A CPU that lacks one uses the next. */
export const ISAS = ['amx', 'avx512', 'avx2', 'sse'] as const;

/** Limits the tests of a `describe` to an instruction set. */
export function limitIsa(isa: (typeof ISAS)[number]): void {
  beforeAll(() => {
    process.env.WPO_ISA = isa;
  });
  afterAll(() => {
    delete process.env.WPO_ISA;
  });
}
