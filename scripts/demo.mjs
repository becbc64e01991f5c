// `npm run demo [-- OUT]`: sets up what is missing, shows the weights of the demo's pairs, trains the demo's model with WPO and with DPO, and
// compares them on held-out pairs.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const wpo = 'packages/cli/bin/wpo.mjs';

process.on('SIGINT', () => {}); // the running command gets the signal too: it saves and exits, and so does this script

/** Runs a script of the repository; if it fails, exits with its status. */
function run(script, args = [], stdio = 'inherit') {
  const { status, signal, stdout } = spawnSync(process.execPath, [script, ...args], { cwd: root, stdio });
  if (status !== 0) process.exit(status ?? (signal === 'SIGINT' ? 130 : 1));
  return stdout?.toString();
}

console.log(
  'Trains a Gemma-2 of 2 million parameters on 163 preference pairs, with WPO and with DPO, and compares them: about a minute on two cores. ' +
    'The first time, set-up comes before that: it installs npm packages and TensorFlow (about 270 MB), and builds for some minutes.\n',
);
run('scripts/setup.mjs');

const started = new Date().toISOString().slice(0, 19).replaceAll(':', '-'); // each run gets a new folder
const output = process.argv[2] ?? `runs/demo-${started}`;
const title = (text) => console.log(`\n── ${text}\n`);

title('WPO: each pair’s loss is multiplied by its weight');
run(wpo, ['train', 'recipes/demo.yaml', '--set', `output_dir=${output}`]);

title('DPO: the same run without weights');
const dpo = ['--set', `output_dir=${output}-dpo`, '--set', 'use_weighting=false', '--set', 'report_samples=0'];
run(wpo, ['train', 'recipes/demo.yaml', ...dpo], ['inherit', 'pipe', 'inherit']);

const prompt = 'Suggest a snack that you can make in under 5 minutes.'; // from the held-out pairs
const answer = (model) => {
  const sampling = ['--temperature', '0.7', '--top-p', '0.9', '--seed', '1', '--max-new-tokens', '64'];
  return run(
    wpo,
    ['generate', '--model', model, '--prompt', prompt, ...sampling],
    ['inherit', 'pipe', 'inherit'],
  ).trim();
};
title('Answers to a held-out prompt, sampled with the same seed');
console.log(`${prompt}\n\nno training: ${answer('demo/model')}\n\nWPO: ${answer(`${output}/model`)}`);

title('Weights of the held-out pairs: which would the trained model learn from?');
const weights = ['--ref', 'demo/model', '--pairs', 'demo/data/eval.jsonl', '--out', `${output}/weights.jsonl`];
run(wpo, ['weigh', '--model', `${output}/model`, ...weights]);

/** The first and the last evaluation of a run. */
const evaluations = (folder) => {
  const lines = readFileSync(resolve(root, folder, 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n');
  const rows = lines.map((line) => JSON.parse(line)).filter((row) => row.eval_loss !== undefined);
  return [rows[0], rows.at(-1)];
};
const [[before, after], [, unweighted]] = [evaluations(output), evaluations(`${output}-dpo`)];
const row = (name, key, digits) =>
  console.log(
    [before, unweighted, after].reduce((line, row) => line + row[key].toFixed(digits).padStart(13), name.padEnd(47)),
  );
title('64 held-out pairs');
console.log(`${''.padEnd(47)}  no training          DPO          WPO`);
row('accuracy: chosen answers with the higher reward', 'eval_rewards/accuracies', 3);
row('margin: by how much', 'eval_rewards/margins', 3);
row('log-prob of chosen answers', 'eval_logps/chosen', 2);
console.log(`
Without training every reward is 0. The standard error of an accuracy is 0.06: on a model this small, WPO and DPO do not differ.

Report, to open in a browser: ${output}/report.html
Both runs in one page:        npm run -s wpo -- report ${output} ${output}-dpo`);
