// Damaged and hostile YAML: configurations of `wpo train`, run files, and values of --set. An accepted configuration can be written
// as YAML and reads back equal; anything else is refused with a plain error that names the file or the setting.
import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import { readYaml } from '../../packages/cli/src/schemas/read-yaml';
import { STAGES, type StageName } from '../../packages/cli/src/schemas/run';
import { parseTrainConfig, trainSchema } from '../../packages/cli/src/schemas/train';
import { configYaml, parseConfig, parseEntries, readSetting } from '../../packages/cli/src/schemas/yaml-config';
import { expectPlainError, type Family, mutatedText } from '../family';

const train = `# a training run
model_name_or_path: models/gemma-2-2b-it
train_file: hf://datasets/org/pairs@v1
eval_split: 0.05 # held out
output_dir: "runs/first"
loss_type: [sigmoid, sft]
loss_weights: [1, 0.2]
columns: {prompt: question, chosen: a, rejected: b}
learning_rate: 1.0e-6
beta: &beta 0.01
label_smoothing: *beta
gradient_accumulation_steps: 16
clamp: true
save_steps:
`;
const recipe = `model_name_or_path: org/model
model_revision: v1
torch_dtype: null
dataset_mixer:
  org/pairs: 1.0
dataset_splits: [train_prefs, test_prefs]
evaluation_strategy: steps
bf16: true
optim: paged_adamw_32bit
warmup_steps: 0.1
truncation_mode: keep_end
max_prompt_length: 512
output_dir: runs/recipe
`;
const run = `output_dir: runs/hybrid
sample: &common
  model: models/gemma-2-2b-it
  prompts: prompts.jsonl
  seeds: [13, 21]
  max_new_tokens: 128
score:
  judge: http://localhost:8000/v1
  concurrency: 8
pair:
train:
  model_name_or_path: models/gemma-2-2b-it
  learning_rate: 5e-7
eval:
  baseline: baseline.json
  judge: http://user:pw@localhost:8000/v1?api-version=1
`;
const hostile = [
  `a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: &d [*c, *c]\nbeta: [*d, *d]\n`,
  `${train}seed: *nowhere\n`,
  `? [complex, key]\n: value\n? {a: b}\n: c\n`,
  `beta: &x [*x]\n`,
  `beta: !!js/function "x"\nseed: !!binary aGk=\n<<: {kl: 1}\n`,
  `"a\\u001b[31m": 1\n"\\0": 2\n__proto__: {x: 1}\nconstructor: 2\n`,
  `${'['.repeat(40)}${']'.repeat(40)}\n`,
  `beta: |\n  text\nseed: >-\n  folded\n--- \nsecond: document\n`,
];

/** Repeats a text, so that depth, number and length exceed every limit. */
const bombs = fc
  .tuple(
    fc.constantFrom('[', '{a: ', '- ', '? ', 'a: &a ', '*a ', '!!x ', 'x: 1\n', '  ', 'é', '\t', '&a [*a, ', '"'),
    fc.integer({ min: 1, max: 40_000 }),
  )
  .map(([part, count]) => `beta: ${part.repeat(count)}`);

interface Input {
  readonly kind: 'train' | 'run' | 'set';
  readonly text: string;
}
const input: fc.Arbitrary<Input> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({ kind: fc.constant('train' as const), text: mutatedText([train, recipe, ...hostile]) }),
  },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('run' as const), text: mutatedText([run, ...hostile]) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom('train' as const, 'run' as const), text: bombs }) },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant('set' as const), text: mutatedText(train.trim().split('\n')) }),
  },
);

function readTrain(text: string, count: (outcome: string) => void): void {
  const { config } = parseTrainConfig(text, { file: '/fuzz/run.yaml' });
  const again = parseConfig(trainSchema, configYaml(trainSchema, config), { file: '/fuzz/run.yaml' });
  if (!isDeepStrictEqual(again, config)) throw new Error(`reads back as ${JSON.stringify(again)}`);
  count('train configuration read');
}

function readRun(text: string, count: (outcome: string) => void): void {
  for (const [key, { keys }] of readYaml(text, '/fuzz/run.yaml')) {
    if (!Object.hasOwn(STAGES, key) || keys === undefined) continue;
    parseEntries(STAGES[key as StageName].schema, new Map(keys), { file: '/fuzz/run.yaml', prefix: `${key}.` });
  }
  count('run file read');
}

export const family: Family<Input> = {
  name: 'yaml',
  input,
  check({ kind, text }, { count }) {
    try {
      if (kind === 'train') readTrain(text, count);
      else if (kind === 'run') readRun(text, count);
      else {
        readSetting(text.replace(': ', '='));
        count('setting read');
      }
    } catch (error) {
      if ((error as Error).name !== 'UserError') throw error;
      // what is printed: the terminal writes escapes for control characters
      expectPlainError(error);
      if (!/^(\/fuzz\/run\.yaml|--)/.test((error as Error).message))
        throw new Error(`names no place: ${(error as Error).message}`);
      count('refused');
    }
  },
};
