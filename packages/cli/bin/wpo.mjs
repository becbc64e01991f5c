#!/usr/bin/env node
import { existsSync } from 'node:fs';

const built = new URL('../dist/process.js', import.meta.url);
if (existsSync(built)) {
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
