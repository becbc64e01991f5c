// Runs a family in a child process and watches it: no case may hang, crash the engine or take too much memory.
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'tsup';
import { root } from '../scripts/setup.mjs';

const bundles = join(root, 'node_modules/.cache/wpo/fuzz');

/** The names of all families. */
export const families = readdirSync(join(root, 'fuzz/families'))
  .filter((file) => file.endsWith('.ts'))
  .map((file) => file.replace(/\.ts$/, ''))
  .sort();

/** Bundles the child process's program and the families from the sources. Must be called once before {@link runFamily}. */
export async function buildFamilies() {
  await build({
    config: false,
    silent: true,
    entry: {
      child: join(root, 'fuzz/child.ts'),
      faulty: join(root, 'fuzz/fixtures/faulty.ts'),
      ...Object.fromEntries(families.map((name) => [name, join(root, `fuzz/families/${name}.ts`)])),
    },
    outDir: bundles,
    outExtension: () => ({ js: '.mjs' }),
    format: 'esm',
    target: 'node20',
    platform: 'node',
    splitting: true,
    clean: true,
    noExternal: [/^(?!@tensorflow\/|koffi)/],
    external: [/^@tensorflow\//, 'koffi'],
    // bundled CommonJS packages call require
    banner: {
      js: "import { createRequire as makeRequire } from 'node:module'; const require = makeRequire(import.meta.url);",
    },
  });
}

/**
 * @typedef {object} Outcome
 * @property {Record<string, number>} counts how many cases had each outcome that the family counts
 * @property {number} slowest CPU time of the slowest case in seconds
 * @property {number} peakMb peak resident memory of the child process in MB
 */

/** A process that only waits uses no CPU time. This multiple of the limit, in elapsed time, ends it. */
const WAITING_FACTOR = 12;

/**
 * @param {string} name the family
 * @param {{seed: number, cases: number, path?: string}} options path: runs only the case of this path, which fast-check prints for a
 *   failure
 * @returns {Promise<Outcome>}
 * @throws Error with the seed and the case if a case fails, hangs, crashes the engine or exceeds the memory limit
 */
export async function runFamily(name, { seed, cases, path }) {
  const folder = mkdtempSync(join(tmpdir(), `wpo-fuzz-${name}-`));
  try {
    const file = join(bundles, `${name}.mjs`);
    const args = [join(bundles, 'child.mjs'), file, String(seed), String(cases), folder, ...(path ? [path] : [])];
    const child = spawn(process.execPath, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe', 'pipe'] });
    const outcome = await watch(child);
    if ('failure' in outcome) {
      const again = `npm run fuzz -- ${name} --seed ${seed} --path`;
      throw new Error(
        `${name}, seed ${seed}: ${outcome.failure}\nTo repeat one case: ${again} ${outcome.path ?? 'PATH'}`,
      );
    }
    return outcome;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Follows the child process to its end and kills it when a case exceeds a limit. */
function watch(child) {
  let limits = { secondsPerCase: 10, memoryMb: 1024 };
  let result;
  let current = -1;
  let output = '';
  let since = { cpu: 0, elapsed: Date.now() };
  let killed;

  readLines(child.stdio[3], (line) => {
    const message = JSON.parse(line);
    if ('started' in message) {
      current = message.started;
      since = { cpu: cpuSeconds(child.pid), elapsed: Date.now() };
    } else if ('secondsPerCase' in message) limits = message;
    else result = message;
  });
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (data) => {
      output = (output + data).slice(-4000);
    });

  const timer = setInterval(() => {
    const { secondsPerCase, memoryMb } = limits;
    const cpu = cpuSeconds(child.pid) - since.cpu;
    const elapsed = (Date.now() - since.elapsed) / 1000;
    const memory = residentMb(child.pid);
    if (cpu > secondsPerCase || elapsed > WAITING_FACTOR * secondsPerCase)
      killed = `took more than ${secondsPerCase} s`;
    else if (memory > memoryMb) killed = `took ${Math.round(memory)} MB of memory, more than ${memoryMb} MB`;
    if (killed) child.kill('SIGKILL');
  }, 100);

  return new Promise((done, fail) => {
    child.on('error', fail);
    child.on('close', (code, signal) => {
      clearInterval(timer);
      if (result && !killed) return done(result);
      const end = killed ?? `ended the process with ${signal ?? `exit code ${code}`}`;
      done({ failure: `case ${current} ${end}.\n${output}`, path: String(current) });
    });
  });
}

/** Calls `line` for each line of a stream. `node:readline` would also split at U+2028. */
function readLines(stream, line) {
  let rest = '';
  stream.setEncoding('utf8').on('data', (data) => {
    const lines = (rest + data).split('\n');
    rest = lines.pop();
    lines.forEach(line);
  });
}

const read = (path) => {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return ''; // the process has ended
  }
};

/** CPU time of a process so far; 0 where there is no /proc. Its clock has 100 ticks a second on all Linux machines. */
function cpuSeconds(pid) {
  const fields = read(`/proc/${pid}/stat`).split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11] ?? 0) + Number(fields[12] ?? 0)) / 100;
}

const residentMb = (pid) => Number(/VmRSS:\s+(\d+) kB/.exec(read(`/proc/${pid}/status`))?.[1] ?? 0) / 1024;
