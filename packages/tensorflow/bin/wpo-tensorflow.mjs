#!/usr/bin/env node
import { describeError } from '../install/errors.mjs';
import { main } from '../install/main.mjs';

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  console.error(describeError(error));
  process.exitCode = 1;
}
