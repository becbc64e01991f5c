// node bench/read-files.mjs FILE…: what reading preference rows costs, each file in a process of its own.
import { execFileSync } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const MB = 1e6;
const [first, ...others] = process.argv.slice(2);
if (first === '--alone') await read(others[0]);
else
  for (const file of [first, ...others]) {
    process.stdout.write(execFileSync(process.execPath, [fileURLToPath(import.meta.url), '--alone', file]));
  }

/** Reads a file to its end, keeping no row, and prints a line. */
async function read(file) {
  const { readRows } = await import('../packages/data/dist/node.js');
  const start = process.memoryUsage.rss();
  const began = performance.now();
  let rows = 0;
  let early = 0; // the most memory held within the first tenth
  for await (const _ of readRows(file)) if (++rows === 6_100) early = peak();
  const seconds = (performance.now() - began) / 1000;
  const mb = (bytes) => `${Math.round(bytes / MB)} MB`;
  const growth = `${mb(start)} before, ${mb(early)} at most in the first 6,100 rows, ${mb(peak())} at most in all`;
  console.log(`${file} (${mb(statSync(file).size)}): ${rows} rows, ${Math.round(rows / seconds)} a second; ${growth}`);
}

function peak() {
  return Number(/VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]) * 1024;
}
