import { describe } from 'vitest';
import { testInputChecks } from './input-checks';

describe('native operations on the CPU', testInputChecks);
