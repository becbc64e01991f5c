#!/usr/bin/env node
import { existsSync } from 'node:fs';

const built = new URL('../dist/process.js', import.meta.url);
if (existsSync(built)) {
  const { runProcess } = await import(built.href);
  await runProcess(process.argv.slice(2));
} else {
  console.error(
    'wpo: expected the built command in dist/process.js, found no such file. In a clone of the repository, run `npm run setup`.',
  );
  process.exitCode = 1;
}
