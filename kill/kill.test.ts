import { beforeAll, expect, test } from 'vitest';
import { built, LONG } from '../e2e/support';
import { killRuns } from './run';

beforeAll(built, LONG); // runs the built command

// `npm run test:kill` strikes 500 times, in every command
test(
  'commands struck at random moments and resumed give the same bits',
  async () => {
    const counts = await killRuns({ kills: 16, seed: 3 });
    expect(counts['commands finished with the same result']).toBeGreaterThan(0);
  },
  LONG,
);
