#!/usr/bin/env node
import { existsSync } from 'node:fs';

const OLDEST_NODE = 20;
const built = new URL('../dist/process.js', import.meta.url);
if (Number(process.versions.node.split('.')[0]) < OLDEST_NODE) {
  console.error(
    `wpo: expected Node ${OLDEST_NODE} or newer, found ${process.versions.node}. Install a newer one from https://nodejs.org.`,
  );
  process.exitCode = 1;
} else if (existsSync(built)) {
  const program = await import(built.href).catch((error) => {
    if (error.code !== 'EMFILE') throw error;
    console.error(
      'wpo: expected a free file descriptor, found that this process has none left. Raise the limit: `ulimit -n 4096`.',
    );
    process.exitCode = 1;
  });
  await program?.runProcess(process.argv.slice(2));
} else {
  console.error(
    'wpo: expected the built command in dist/process.js, found no such file. In a clone of the repository, run `npm run setup`.',
  );
  process.exitCode = 1;
}
