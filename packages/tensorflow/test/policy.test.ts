import { afterAll, beforeAll, describe } from 'vitest';
import { testPolicy } from './policy-properties';
import { tiers } from './tiers';

describe.each([
  ['fused', 256],
  ['fused', 4],
  ['raw', 256],
] as const)('a whole policy by %s operations of up to %i lanes', (name, lanes) => {
  beforeAll(() => {
    process.env.WPO_LANES = String(lanes);
  });
  afterAll(() => {
    delete process.env.WPO_LANES;
  });
  testPolicy(tiers[name]);
});
