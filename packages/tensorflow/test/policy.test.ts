import { describe } from 'vitest';
import { testPolicy } from './policy-properties';
import { limitIsa, tiers } from './tiers';

describe.each(['amx', 'sse'] as const)('a whole policy by fused operations limited to %s', (isa) => {
  limitIsa(isa);
  testPolicy(tiers.fused);
});
