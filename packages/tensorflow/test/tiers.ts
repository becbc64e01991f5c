import type { Kernels } from '@wpo/gemma';
import type { AdamWKernel, Parameter } from '@wpo/trainer';
import { afterAll, beforeAll } from 'vitest';
import type { LogitLimits } from '../src/kernels/answer-logps';
import { fused } from '../src/kernels/kernels';
import { nativeOperations } from '../src/kernels/native';
import { nativeAdamW, nativeGradientNorm } from '../src/kernels/optimizer';

/** One of the ways to compute on TensorFlow that must give what operations composed from tfjs give. */
export interface Tier {
  readonly kernels: (limits?: LogitLimits) => Kernels;
  readonly update: AdamWKernel;
  readonly norm: (parameters: readonly Parameter[]) => Promise<number>;
}

nativeOperations(); // loads the fused ones

export const tiers: Readonly<Record<'fused', Tier>> = {
  fused: { kernels: fused, update: nativeAdamW, norm: nativeGradientNorm },
};

/** Holds the tests of a `describe` to instructions of so many lanes, as processors without wider ones have them. */
export function holdTo(lanes: number): void {
  beforeAll(() => {
    process.env.WPO_LANES = String(lanes);
  });
  afterAll(() => {
    delete process.env.WPO_LANES;
  });
}
