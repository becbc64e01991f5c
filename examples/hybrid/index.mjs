// node index.mjs [OUT]: runs `wpo run` from prompts to a win rate on the demo's model and 16 of its prompts, with a small server
// instead of a reward model and a judge. Then runs it again, which skips every stage.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { main } from '@wpo/cli';
import { startServer } from './server.mjs';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const folder = resolve(process.argv[2] ?? 'hybrid-run');
const at = (name) => join(folder, name);
const lines = (path) =>
  readFileSync(path, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));

// prompts, answers of another model, and a baseline's answers, all from the demo's held-out pairs
const rows = lines(here('../../demo/data/eval.jsonl'))
  .filter(({ prompt }) => prompt.length < 300)
  .slice(0, 16);
const jsonl = (objects) => objects.map((row) => `${JSON.stringify(row)}\n`).join('');
const last = (messages) => messages.at(-1).content;
mkdirSync(folder, { recursive: true });
writeFileSync(at('prompts.jsonl'), jsonl(rows.map(({ prompt_id, prompt }) => ({ prompt_id, prompt }))));
writeFileSync(
  at('other.jsonl'),
  jsonl(
    rows.map(({ prompt_id, prompt, chosen }) => ({ prompt_id, prompt, completion: last(chosen), source: 'other' })),
  ),
);
const baseline = rows
  .slice(0, 8)
  .map((row) => ({ instruction: row.prompt, output: last(row.rejected), generator: 'base' }));
writeFileSync(at('baseline.json'), JSON.stringify(baseline));

const server = await startServer();
const settings = {
  output_dir: folder,
  'sample.prompts': at('prompts.jsonl'),
  'score.answers': [at('answers.jsonl'), at('other.jsonl')],
  'score.endpoint': server.url,
  'eval.baseline': at('baseline.json'),
  'eval.judge': server.url,
};
const set = Object.entries(settings).flatMap(([key, value]) => ['--set', `${key}=${JSON.stringify(value)}`]);

async function wpo(...args) {
  const status = await main(args);
  if (status !== 0) process.exit(status);
}

await wpo('run', here('run.yaml'), ...set);
console.log(`\nThe server answered ${server.counts.answered} requests and failed ${server.counts.failed}.`);

console.log('\nThe pairs, and their weights under the model before training:\n');
await wpo('inspect', at('pairs.jsonl'), '--model', here('../../demo/model'), '--worst', '0');

const before = server.counts.answered;
console.log('\nThe same run again:\n');
await wpo('run', here('run.yaml'), ...set);
console.log(`\nRequests sent: ${server.counts.answered - before}`);

const { win_rate, length_controlled_winrate } = JSON.parse(readFileSync(at('eval/metrics.json'), 'utf8'));
console.log(
  `Win rate ${win_rate.toFixed(1)} %, length-controlled ${length_controlled_winrate.toFixed(1)} %, from a stand-in judge.`,
);
server.close();
