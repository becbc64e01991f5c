// `npm run demo`: sets up what is missing, trains the demo's model with WPO, and answers a prompt before and after.
import { spawnSync } from 'node:child_process';
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

run('scripts/setup.mjs');

const started = new Date().toISOString().slice(0, 19).replaceAll(':', '-'); // each run gets a new folder
const output = `runs/demo-${started}`;
run(wpo, ['train', 'recipes/demo.yaml', '--set', `output_dir=${output}`]);

const prompt = 'Suggest a snack that you can make in under 5 minutes.'; // from the held-out pairs
const answer = (model) => {
  const sampling = ['--temperature', '0.7', '--top-p', '0.9', '--seed', '1', '--max-new-tokens', '64'];
  return run(
    wpo,
    ['generate', '--model', model, '--prompt', prompt, ...sampling],
    ['inherit', 'pipe', 'inherit'],
  ).trim();
};
console.log(`
Answers to a held-out prompt, sampled with the same seed:

  ${prompt}

before: ${answer('demo/model')}

after:  ${answer(`${output}/model`)}

The run is in ${output}. Its report, to open in a browser: ${output}/report.html
To see which pairs the trained model would learn from:
  npm run -s wpo -- weigh --model ${output}/model --ref demo/model --pairs demo/data/eval.jsonl --out runs/weights.jsonl`);
