import { describe } from 'vitest';
import { testPolicy } from './policy-properties';
import { limitIsa, nativeTier } from './tiers';

describe.each(['amx', 'sse'] as const)('a whole policy with native kernels limited to %s', (isa) => {
  limitIsa(isa);
  testPolicy(nativeTier);
});
