// Runs the cases of one family in a process of its own: `node child.mjs FAMILY-FILE SEED CASES FOLDER [PATH]`.
//
// Writes JSON lines to file descriptor 3: the family's limits, the number of each case before it starts, and the result. The writes
// are synchronous, so the parent knows the case that hangs or crashes the engine. With PATH, which fast-check prints for a failure,
// only that case runs.
import { writeSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import fc from 'fast-check';
import type { Family } from './family';

const [file, seed, cases, folder, path] = process.argv.slice(2) as [string, string, string, string, string?];
const report = (message: object) => writeSync(3, `${JSON.stringify(message)}\n`);

const { family } = (await import(pathToFileURL(file).href)) as { family: Family<unknown> };
const counts: Record<string, number> = {};
const context = {
  folder,
  count: (outcome: string) => {
    counts[outcome] = (counts[outcome] ?? 0) + 1;
  },
};

report({ secondsPerCase: family.secondsPerCase ?? 10, memoryMb: family.memoryMb ?? 1024 });
let started = 0;
let slowest = 0;
const property = fc.asyncProperty(family.input, async (input) => {
  report({ started: started++ });
  const before = process.cpuUsage();
  await family.check(input, context);
  const { user, system } = process.cpuUsage(before);
  await new Promise((done) => setImmediate(done)); // an unhandled rejection ends the process here, in its own case
  slowest = Math.max(slowest, (user + system) / 1e6);
});

const details = await fc.check(property, {
  seed: Number(seed),
  includeErrorInReport: true,
  ...(path ? { path, numRuns: 1 } : { numRuns: Number(cases) }),
});
if (details.failed) {
  const failure = fc.defaultReportMessage(details)!;
  const error = details.errorInstance; // first, as the case may be longer than the report
  report({ failure: `${String(error instanceof Error ? error.stack : error)}\n${failure}`.slice(0, 20_000) });
} else report({ passed: true, counts, slowest, peakMb: process.resourceUsage().maxRSS / 1024 });
process.exit(0); // a family may have left servers and threads open
