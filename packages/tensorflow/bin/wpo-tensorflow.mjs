#!/usr/bin/env node
import { main } from '../install/main.mjs';
import { describe } from '../install/problem.mjs';

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  console.error(describe(error));
  process.exitCode = 1;
}
