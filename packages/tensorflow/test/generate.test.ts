import { describe } from 'vitest';
import { testGeneration, testPrograms } from './generate-properties';
import { holdTo, tiers } from './tiers';

describe.each([
  ['fused', 16],
  ['fused', 8],
  ['fused', 4],
] as const)('generation by %s operations of up to %i lanes', (name, lanes) => {
  holdTo(lanes);
  testGeneration(tiers[name]);
});

describe('programs', () => testPrograms(tiers.fused));
