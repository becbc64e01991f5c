import { existsSync } from 'node:fs';
import { expect, test } from 'vitest';
import { killRuns } from './run';

// `npm run test:kill` strikes 500 times, in every command
test('commands struck at random moments and resumed give the same bits', async () => {
  expect(existsSync(new URL('../packages/cli/dist/main.js', import.meta.url)), 'run `npm run setup` first').toBe(true);
  const counts = await killRuns({ kills: 16, seed: 3 });
  expect(counts['commands finished with the same result']).toBeGreaterThan(0);
}, 600_000);
