// `npm run bench -- [FLAGS]`: measures speed and memory of training on this machine; see bench/README.md.
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { root, setUpOrExit } from './setup.mjs';

await setUpOrExit({ quiet: true });
const { buildBench } = await import('../bench/build.mjs');
const folder = await buildBench(root);
// npm runs scripts at the root, and keeps the folder it was called from in INIT_CWD
if (process.env.INIT_CWD) process.chdir(process.env.INIT_CWD);
const { main } = await import(pathToFileURL(join(folder, 'main.mjs')).href);
try {
  await main(process.argv.slice(2), root);
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
