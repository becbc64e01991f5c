// `npm run test:kill -- [--kills N] [--seed N] [--only SCENARIO] [--how kill|power|stop|twice|refuse]`: kills commands at random moments and resumes them.
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { setUpOrExit } from './setup.mjs';

await setUpOrExit({ quiet: true });
const { runnerImport } = await import('vite');
const path = (relative) => fileURLToPath(new URL(relative, import.meta.url));
const { values } = parseArgs({
  options: {
    kills: { type: 'string', default: '500' },
    seed: { type: 'string', default: '1' },
    only: { type: 'string' },
    how: { type: 'string' },
  },
});
const { module } = await runnerImport(path('../kill/run.ts'), {
  configFile: path('../vitest.config.ts'),
  root: path('..'),
});
const started = Date.now();
try {
  const [kills, seed] = [Number(values.kills), Number(values.seed)];
  const counts = await module.killRuns({
    kills,
    seed,
    only: values.only,
    how: values.how,
    log: (line) => console.log(line),
  });
  const text = Object.entries(counts).map(([name, count]) => `${count} ${name}`);
  console.log(`${kills} strikes, seed ${seed}, ${Math.round((Date.now() - started) / 1000)} s: ${text.join(', ')}`);
} catch (error) {
  console.log(error.message);
  process.exitCode = 1;
}
process.exit();
