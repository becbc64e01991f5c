// `npm run -s wpo -- ARGS`: the command line from a clone, in the folder it is called from.
import { setUpOrExit } from './setup.mjs';

await setUpOrExit({ quiet: true });
// npm runs scripts at the root, and says here where it was called
if (process.env.INIT_CWD) process.chdir(process.env.INIT_CWD);
await import('../packages/cli/bin/wpo.mjs');
