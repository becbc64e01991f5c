import { describe } from 'vitest';
import { testPolicy } from './policy-properties';
import { holdTo, tiers } from './tiers';

describe.each([
  ['fused', 256],
  ['fused', 4],
] as const)('a whole policy by %s operations of up to %i lanes', (name, lanes) => {
  holdTo(lanes);
  testPolicy(tiers[name]);
});
