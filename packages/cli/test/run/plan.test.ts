import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { planRun } from '../../src/run/plan';
import { temporaryFolder } from '../golden';
import { wpo } from '../wpo';

function runFile(yaml: string): string {
  const path = join(temporaryFolder(), 'run.yaml');
  writeFileSync(path, yaml);
  return path;
}

test('a stage reads the output of the stages before it, and paths start from the file’s folder', async () => {
  const path = runFile(
    'output_dir: out\nsample:\n  endpoint: http://me:secret@localhost:1/v1\n  prompts: p.jsonl\n  top-p: 0.5\n' +
      'score:\n  endpoint: http://localhost:2\npair:\ntrain:\n  model_name_or_path: m\neval:\n  baseline: b.json\n' +
      '  judge: http://localhost:3\n',
  );
  const { stages } = await planRun(path, ['train.learning_rate=1e-5', 'pair.min_margin=2']);
  const [sample, score, pair, train, evaluation] = stages;
  const at = (...parts: string[]) => join(path, '..', ...parts);
  expect(sample).toMatchObject({ out: at('out/answers.jsonl'), inputs: [at('p.jsonl')], settings: { top_p: 0.5 } });
  expect(sample!.servers).toEqual(['http://localhost:1/v1']);
  expect(score!.inputs).toEqual([at('out/answers.jsonl')]);
  expect(pair).toMatchObject({ inputs: [at('out/scored.jsonl')], settings: { min_margin: 2, strategy: 'max-min' } });
  expect(train).toMatchObject({ inputs: [at('m'), at('out/pairs.jsonl')], settings: { learning_rate: 1e-5 } });
  expect(evaluation!.inputs).toEqual([at('b.json'), at('out/train/model')]);
  expect(JSON.stringify(stages)).not.toContain('secret');
});

test('an adapter that was trained is evaluated with its model', async () => {
  const stages = (train: string, evaluation = '') =>
    runFile(
      `output_dir: out\ntrain:\n  model_name_or_path: ./m\n  train_file: ./t.jsonl\n${train}` +
        `eval:\n  pairs: ./p.jsonl\n${evaluation}`,
    );
  const inputsOf = async (path: string) => {
    const { stages } = await planRun(path);
    return stages.at(-1)!.inputs.map((input) => input.replace(`${join(path, '..')}/`, ''));
  };
  expect((await inputsOf(stages('  use_peft: true\n'))).sort()).toEqual(['m', 'out/train/model', 'p.jsonl']);
  expect((await inputsOf(stages('  adapter_name_or_path: ./a\n'))).sort()).toEqual(['m', 'out/train/model', 'p.jsonl']);
  expect((await inputsOf(stages('  use_peft: true\n', '  model: ./other\n'))).sort()).toEqual(['other', 'p.jsonl']);
  expect((await inputsOf(stages(''))).sort()).toEqual(['out/train/model', 'p.jsonl']);
});

test('all mistakes of all stages are reported at once with line and key, before any stage runs', async () => {
  const path = runFile('output_dir: out\nsampel:\n');
  expect(await wpo('run', path)).toMatchObject({
    status: 1,
    err: `${path}:2: sampel: unknown key. Did you mean "sample"? \`wpo run --help\` lists all keys.\n${path}: expected at least one of the stages sample, score, pair, weigh, train, eval, found none.\n`,
  });
  const stages = runFile(
    'output_dir: out\nsample:\n  model: m\n  temprature: 1\n  top_p: 2\nscore:\n  api: pool\n  answers: a.jsonl\n' +
      'train:\n  model_name_or_path: m\n  train_file: t.jsonl\n\n  # a comment\n  learning_rate: no\n',
  );
  const { status, out, err } = await wpo('run', stages);
  expect({ status, out }).toEqual({ status: 1, out: '' });
  expect(err.trimEnd().split('\n')).toEqual([
    `${stages}:4: sample.temprature: unknown key. Did you mean "temperature"? \`wpo sample --help\` lists all keys.`,
    `${stages}: sample.prompts: expected the path of a file, found nothing. This key is required: JSONL file of {"prompt": text or messages, "prompt_id": optional}.`,
    `${stages}:5: sample.top_p: expected a number above 0, at most 1, found 2. The default is 0.95.`,
    `${stages}:7: score.api: expected one of pooling, classify, score, found the text "pool". Did you mean "pooling"?`,
    `${stages}:14: train.learning_rate: expected a number above 0, at most 1, found the text "no". The default is 1e-6.`,
  ]);
});

test.each([
  [
    'a stage without a required option',
    'score:\n  answers: a\n',
    ': score.rewards: expected exactly one of rewards, endpoint and judge, found none',
  ],
  [
    'an input that does not exist',
    'weigh:\n  model: ./m\n  pairs: ./p.jsonl\n',
    'weigh: expected a file or folder to read, found no',
  ],
  [
    'an invalid address',
    'sample:\n  prompts: p\n  endpoint: nowhere\n',
    ':4: sample.endpoint: server address: expected an http or https URL, found "nowhere"',
  ],
])('%s is an error before any stage runs', async (_, yaml, message) => {
  const { status, out, err } = await wpo('run', runFile(`output_dir: out\n${yaml}`));
  expect({ status, out }).toEqual({ status: 1, out: '' });
  expect(err).toContain(message);
});

test('--set and --from name a stage of the file', async () => {
  const path = runFile('output_dir: out\npair:\n  answers: a.jsonl\n');
  expect((await wpo('run', path, '--set', 'train.beta=1')).err).toContain(
    '--set train.beta: expected output_dir, or a key',
  );
  expect((await wpo('run', path, '--from', 'eval')).err).toContain('--from: expected a stage of');
});
