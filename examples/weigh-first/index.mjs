// node index.mjs [MODEL] [PAIRS] [OUT]: looks at preference pairs before training. Inspects them, computes the weight that each pair would
// have, leaves out those that the model would hardly learn from, and writes the configuration of a run on the others.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { main } from '@wpo/cli';

const demo = (path) => fileURLToPath(new URL(`../../demo/${path}`, import.meta.url));
const [model = demo('model'), pairs = demo('data/train.jsonl'), folder = 'weighed'] = process.argv.slice(2);
const at = (name) => join(folder, name);
const lines = (path) => readFileSync(path, 'utf8').trim().split('\n');
mkdirSync(folder, { recursive: true });

async function wpo(...args) {
  console.log(`\n> wpo ${args.join(' ')}\n`);
  const status = await main(args);
  if (status !== 0) process.exit(status);
}

await wpo('inspect', pairs, '--tokenizer', model, '--worst', '1');
await wpo('weigh', '--model', model, '--pairs', pairs, '--out', at('weights.jsonl'));

// A pair's part of the gradient is in proportion to its weight: the lowest tenth of the weights adds almost nothing.
const weighed = lines(at('weights.jsonl')).map((line) => JSON.parse(line));
const byWeight = weighed.toSorted((a, b) => a.weight - b.weight);
const least = byWeight[Math.floor(weighed.length / 10)].weight;
const sum = (rows) => rows.reduce((total, { weight }) => total + weight, 0);
const low = weighed.filter(({ weight }) => weight < least);
const rows = lines(pairs);
writeFileSync(
  at('kept.jsonl'),
  weighed
    .filter(({ weight }) => weight >= least)
    .map(({ line }) => `${rows[line - 1]}\n`)
    .join(''),
);
const share = ((100 * sum(low)) / sum(weighed)).toFixed(1);
console.log(
  `\n${low.length} of ${weighed.length} pairs have ${share} % of all weight. ${at('kept.jsonl')} has the others.`,
);

await wpo('init', '--model', model, '--data', at('kept.jsonl'), '--out', at('run.yaml'));
