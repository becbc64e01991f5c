import { describe } from 'vitest';
import { testGeneration, testPrograms } from './generate-properties';
import { limitIsa, nativeTier } from './tiers';

describe.each(['avx512', 'avx2', 'sse'] as const)('generation with native kernels limited to %s', (isa) => {
  limitIsa(isa);
  testGeneration(nativeTier);
});

describe('programs', () => testPrograms(nativeTier));
