// node bench/read-files.mjs FILE…: speed and memory of reading preference rows, each file in a process of its own.
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

/** Reads a file to its end, keeps no row, and prints a line of results. */
async function read(file) {
  const { readRows } = await import('../packages/data/dist/node.js');
  const start = process.memoryUsage.rss();
  const began = performance.now();
  let rows = 0;
  let early = 0; // peak memory in the first tenth
  for await (const _ of readRows(file)) if (++rows === 6_100) early = peak();
  const seconds = (performance.now() - began) / 1000;
  const mb = (bytes) => `${Math.round(bytes / MB)} MB`;
  const growth = `${mb(start)} at the start, peak ${mb(early)} in the first 6,100 rows and ${mb(peak())} in all`;
  console.log(`${file} (${mb(statSync(file).size)}): ${rows} rows, ${Math.round(rows / seconds)} a second; ${growth}`);
}

function peak() {
  return Number(/VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]) * 1024;
}
