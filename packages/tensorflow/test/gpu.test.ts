import { describe } from 'vitest';
import { testGeneration } from './generate-properties';
import { useEmulatedGpu } from './gpu/emulated';
import { testKernels } from './kernel-properties';
import { testPolicy } from './policy-properties';
import { tiers } from './tiers';

useEmulatedGpu();

describe('operations for GPUs, on one that the processor plays', () => {
  testKernels(tiers.fused);
  testPolicy(tiers.fused);
  testGeneration(tiers.fused);
});
