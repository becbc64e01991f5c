import { describe } from 'vitest';
import { testPolicy } from './policy-properties';
import { tiers } from './tiers';

describe.each(['fused', 'raw'] as const)('a whole policy by %s operations', (name) => testPolicy(tiers[name]));
