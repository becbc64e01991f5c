// `npm run -s wpo -- ARGS`: runs the command line from a clone, in the current folder.
import { setUpOrExit } from './setup.mjs';

await setUpOrExit({ quiet: true });
// npm runs scripts at the root, and keeps the folder it was called from in INIT_CWD
if (process.env.INIT_CWD) process.chdir(process.env.INIT_CWD);
await import('../packages/cli/bin/wpo.mjs');
