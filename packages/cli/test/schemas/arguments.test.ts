import { expect, test } from 'vitest';
import { rewriteArguments } from '../../src/schemas/arguments';
import { runSchema, STAGES } from '../../src/schemas/run';
import { yamlKey } from '../../src/schemas/schema';
import { trainSchema } from '../../src/schemas/train';
import { weighSchema } from '../../src/schemas/weigh';
import { parseConfig } from '../../src/schemas/yaml-config';
import { wpo } from '../wpo';

test.each([
  [
    ['run.yaml', '--learning_rate', '1e-5'],
    ['run.yaml', '--set', '--learning_rate=1e-5'],
  ],
  [
    ['run.yaml', '--learning-rate=1e-5'],
    ['run.yaml', '--set', '--learning_rate=1e-5'],
  ],
  [
    ['learning_rate=1e-5', 'run.yaml'],
    ['--set', '--learning_rate=1e-5', 'run.yaml'],
  ],
  [
    ['--config', 'run.yaml', '--resume'],
    ['run.yaml', '--resume'],
  ],
  [['--config=run.yaml'], ['run.yaml']],
  [
    ['run.yaml', '--clamp', '--attached', 'true'],
    ['run.yaml', '--set', '--clamp=true', '--set', '--attached=true'],
  ],
  [
    ['run.yaml', '--no-shuffle', '--shuffle', 'False'],
    ['run.yaml', '--set', '--shuffle=false', '--set', '--shuffle=False'],
  ],
  [
    ['run.yaml', '--output_dir', 'a: b #c'],
    ['run.yaml', '--set', '--output_dir="a: b #c"'],
  ],
  [
    ['run.yaml', '--max_steps', '-1'],
    ['run.yaml', '--set', '--max_steps=-1'],
  ],
  [
    ['run.yaml', '--set', '--beta=1', '--set', 'seed=2'],
    ['run.yaml', '--set', '--beta=1', '--set', 'seed=2'],
  ],
  [
    ['--', '--beta', '1'],
    ['--', '--beta', '1'],
  ],
])('the arguments of train %j are %j', (args, expected) => {
  expect(rewriteArguments(trainSchema, args)).toEqual(expected);
});

test('a flag may be written with underscores, and its value may look like a flag', () => {
  expect(rewriteArguments(weighSchema, ['--max_length', '9', '--loss_type=ipo', '--model', '--max_length'])).toEqual([
    ...['--max-length', '9', '--loss-type=ipo', '--model', '--max_length'],
  ]);
});

test('the keys of a run’s stages are flags with the stage’s name', () => {
  expect(rewriteArguments(runSchema, ['run.yaml', '--train.learning-rate', '1e-5', '--output_dir=o'])).toEqual([
    ...['run.yaml', '--set', '--train.learning_rate=1e-5', '--set', '--output_dir="o"'],
  ]);
});

/** A value that each key accepts and that is not its default. */
const VALUES: Readonly<Record<string, string>> = {
  loss_type: '[hinge]',
  loss_weights: '[2]',
  columns: '{prompt: q}',
  alignment: 'greedy',
  completion: 'trl',
  truncation: 'keep_start',
  on_bad_row: 'skip',
  dtype: 'float32',
  save_dtype: 'bfloat16',
};
const least = 'model_name_or_path: m\ntrain_file: t\noutput_dir: o\n';

test.each(Object.entries(trainSchema.fields).map(([name, field]) => [yamlKey(name), field] as const))(
  '--%s does what --set does',
  (key, { json, choices, default: given }) => {
    const last = Object.keys(choices ?? {}).at(-1);
    const value =
      VALUES[key] ?? (json.type === 'boolean' ? String(!given) : (last ?? (json.type === 'string' ? 'text' : '1')));
    const parse = (set: string[]) => {
      try {
        return parseConfig(trainSchema, least, { file: 'run.yaml', set });
      } catch (error) {
        return (error as Error).message.replaceAll('--set ', '--'); // keys that need another key
      }
    };
    const expected = parse([`${key}=${value}`]);
    for (const flag of [`--${key}`, `--${key.replaceAll('_', '-')}`]) {
      for (const args of [[flag, value], [`${flag}=${value}`]]) {
        const [set, setting, ...more] = rewriteArguments(trainSchema, args);
        expect([set, more]).toEqual(['--set', []]);
        expect(parse([setting!])).toEqual(expected);
      }
    }
  },
);

test('every key of every stage can be a flag of run', () => {
  for (const [stage, { schema }] of Object.entries(STAGES)) {
    for (const name of Object.keys(schema.fields)) {
      const flag = `--${stage}.${yamlKey(name)}`;
      expect(rewriteArguments(runSchema, [`${flag}=true`])[1]).toMatch(new RegExp(`^${flag}="?true"?$`));
    }
  }
});

test.each([
  [
    ['train', 'run.yaml', '--learning_rate'],
    '--learning_rate: expected a number above 0, at most 1, found nothing. Write the value after it.\n',
  ],
  [['train', 'run.yaml', '--lr', '1e-5'], '--lr: unknown flag. It is called --learning_rate here.\n'],
  [
    ['train', 'run.yaml', '--load-in-4bit'],
    '--load-in-4bit: unknown flag. Nothing is quantized. `dtype: bfloat16` holds the model under an adapter in 2 bytes per parameter. Remove it.\n',
  ],
  [
    ['train', 'run.yaml', '--resum'],
    '--resum: unknown flag. Did you mean "--resume"? `wpo train --help` lists all flags.\n',
  ],
  [
    ['run', 'run.yaml', '--learning_rate', '1'],
    '--learning_rate: unknown flag. It is an option of a stage: write --train.learning_rate.\n',
  ],
  [['weigh', '--model-name', 'm'], '--model-name: unknown flag. It is called --model here.\n'],
  [['sample', '--max_tokens', '3'], '--max_tokens: unknown flag. It is called --max-new-tokens here.\n'],
  [['score', '--base-url', 'u'], '--base-url: unknown flag. It is called --endpoint here.\n'],
  [['eval', '--frobnicate'], '--frobnicate: unknown flag. `wpo eval --help` lists all flags.\n'],
])('%j is a mistake that is explained', async (args, err) => {
  expect(await wpo(...args)).toEqual({ status: 1, out: '', err });
});
