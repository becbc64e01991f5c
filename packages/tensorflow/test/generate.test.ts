import { describe } from 'vitest';
import { testGeneration, testPrograms } from './generate-properties';
import { limitIsa, tiers } from './tiers';

describe.each(['avx512', 'avx2', 'sse'] as const)('generation by fused operations limited to %s', (isa) => {
  limitIsa(isa);
  testGeneration(tiers.fused);
});

describe('programs', () => testPrograms(tiers.fused));
