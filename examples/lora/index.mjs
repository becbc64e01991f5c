// node index.mjs [PRESET] [PAIRS] [OUT]: trains a LoRA adapter on a Gemma-2 with random weights of a preset's size, and merges it into the
// model. Default: the preset tiny, of 0.3M parameters; 2b-wide (0.9B) and 2b (2.6B) show what the real sizes take on this machine.
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { main } from '@wpo/cli';

const demo = fileURLToPath(new URL('../../demo/data/train.jsonl', import.meta.url));
const [preset = 'tiny', pairs = demo, folder = 'lora-run'] = process.argv.slice(2);
const at = (name) => join(folder, name);

async function wpo(...args) {
  console.log(`\n> wpo ${args.join(' ')}\n`);
  const status = await main(args);
  if (status !== 0) process.exit(status);
}

await wpo('init', '--preset', preset, '--out', at('model')); // the tokenizer has a token for each byte
writeFileSync(
  at('run.yaml'),
  `model_name_or_path: model
train_file: ${JSON.stringify(pairs)}
output_dir: run
use_peft: true # the model's own weights stay as they are, in bfloat16
lora_target_modules: all-linear
lora_r: 8
lora_alpha: 16
learning_rate: 1.0e-3 # high, as the weights are random
max_length: 256
gradient_accumulation_steps: 4
max_steps: 4
precompute_ref_log_probs: false # four steps take few of the pairs
logging_steps: 1
report_samples: 0
`,
);
await wpo('plan', at('run.yaml'), '--no-time');
await wpo('train', at('run.yaml'));
await wpo('merge', '--model', at('model'), '--adapter', at('run/model'), '--out', at('merged'));

const megabytes = (folder) => {
  const files = readdirSync(folder).filter((name) => name.endsWith('.safetensors'));
  return (files.reduce((sum, name) => sum + statSync(join(folder, name)).size, 0) / 1e6).toFixed(2);
};
const { r, lora_alpha } = JSON.parse(readFileSync(at('run/model/adapter_config.json'), 'utf8'));
console.log(
  `\nThe adapter, of rank ${r} and alpha ${lora_alpha}, has ${megabytes(at('run/model'))} MB; ` +
    `the model has ${megabytes(at('model'))} MB.`,
);
