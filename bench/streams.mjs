// node bench/streams.mjs [PROMPTS …]
//
// Measures memory and time of `wpo pair` and `wpo inspect`. For each number of prompts (default: 6100 and 61000) it writes six
// scored answers per prompt, made of the demo's, to two files and out of order. Prints one line per command: rows and bytes read,
// seconds, and peak resident memory. Uses the built packages; runs on Linux.
import { spawn } from 'node:child_process';
import { createWriteStream, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const ANSWERS = 6;
const sizes = process.argv.length > 2 ? process.argv.slice(2).map(Number) : [6100, 61000];

const folder = mkdtempSync(join(tmpdir(), 'wpo-streams-'));
const [own, other, pairs] = ['own.jsonl', 'other.jsonl', 'pairs.jsonl'].map((name) => join(folder, name));
try {
  console.log('command       rows     MB read  seconds  peak MB');
  for (const prompts of sizes) {
    await writeAnswers(prompts);
    await measure('pair', prompts * ANSWERS, [own, other], ['pair', '--answers', own, other, '--out', pairs]);
    await measure('inspect', prompts, [pairs], ['inspect', pairs]);
    await measure('inspect, tokens', prompts, [pairs], ['inspect', pairs, '--tokenizer', join(root, 'demo/model')]);
  }
} finally {
  rmSync(folder, { recursive: true });
}

/** Writes one file with five answers per prompt, all prompts seed by seed, and one with an answer of another model per prompt. */
async function writeAnswers(prompts) {
  const lines = readFileSync(join(root, 'demo/data/train.jsonl'), 'utf8').trim().split('\n');
  const texts = lines.map((line) => JSON.parse(line)).flatMap((row) => [row.chosen.at(-1), row.rejected.at(-1)]);
  let state = 1;
  const draw = (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0; // the linear congruential generator of Numerical Recipes
    return Math.floor((state / 2 ** 32) * below);
  };
  const completion = () => Array.from({ length: 1 + draw(5) }, () => texts[draw(texts.length)].content).join('\n\n');
  const row = (i, source, seed) => {
    const prompt = `Question ${i}: ${texts[(i * 7) % texts.length].content.slice(0, 400)}`;
    const answer = { prompt_id: `prompt-${i}`, prompt, completion: completion(), source, seed, score: draw(1e6) / 1e5 };
    return `${JSON.stringify(answer)}\n`;
  };
  await pipeline(function* () {
    for (let seed = 0; seed < ANSWERS - 1; seed++) for (let i = 0; i < prompts; i++) yield row(i, 'own', seed);
  }, createWriteStream(own));
  await pipeline(function* () {
    for (let i = prompts - 1; i >= 0; i--) yield row(i, 'other', 0);
  }, createWriteStream(other));
}

async function measure(label, rows, files, args) {
  const start = performance.now();
  const child = spawn(process.execPath, [join(root, 'packages/cli/bin/wpo.mjs'), ...args], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  let peak = 0;
  const timer = setInterval(() => {
    peak = Math.max(peak, peakBytes(child.pid));
  }, 50);
  const status = await new Promise((resolve) => child.on('exit', resolve));
  clearInterval(timer);
  if (status !== 0) throw new Error(`wpo ${args.join(' ')} exited with status ${status}`);
  const bytes = files.reduce((sum, file) => sum + statSync(file).size, 0);
  const cells = [rows, bytes / 1e6, (performance.now() - start) / 1000, peak / 1e6].map((n) =>
    n.toFixed(0).padStart(7),
  );
  console.log(`${label.padEnd(16)} ${cells.join('  ')}`);
}

function peakBytes(pid) {
  try {
    return 1024 * Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0);
  } catch {
    return 0; // the process has ended
  }
}
