import { afterAll, beforeAll, describe } from 'vitest';
import { testGeneration, testPrograms } from './generate-properties';
import { tiers } from './tiers';

describe.each([
  ['fused', 16],
  ['fused', 8],
  ['fused', 4],
  ['raw', 16],
] as const)('generation by %s operations of up to %i lanes', (name, lanes) => {
  beforeAll(() => {
    process.env.WPO_LANES = String(lanes);
  });
  afterAll(() => {
    delete process.env.WPO_LANES;
  });
  testGeneration(tiers[name]);
});

describe('programs', () => testPrograms(tiers.fused));
