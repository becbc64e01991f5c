// node toy-child.mjs FOLDER WAIT_FOR [signal]: runs toy-run.ts, which Node cannot load by itself.
import { fileURLToPath } from 'node:url';
import { runnerImport } from 'vite';

const path = (relative) => fileURLToPath(new URL(relative, import.meta.url));
const [folder, waitFor, until] = process.argv.slice(2);
const { module } = await runnerImport(path('./toy-run.ts'), {
  configFile: path('../../../../vitest.config.ts'),
  root: path('../../../..'),
});
await module.toyChild(folder, waitFor, until);
