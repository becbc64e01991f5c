#!/usr/bin/env node
import { existsSync } from 'node:fs';

const built = new URL('../dist/main.js', import.meta.url);
if (existsSync(built)) {
  // a reader that closes the pipe early, such as `head`, is not an error
  process.stdout.on('error', (error) => {
    if (error.code !== 'EPIPE') throw error;
    process.exit(0);
  });
  const { main } = await import(built.href);
  process.exitCode = await main(process.argv.slice(2));
} else {
  console.error(
    'wpo: expected the built command in dist/main.js, found no such file. In a clone of the repository, run `npm run setup`.',
  );
  process.exitCode = 1;
}
