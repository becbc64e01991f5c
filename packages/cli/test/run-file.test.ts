import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { planRun } from '../src/run-plan';
import { temporaryFolder } from './golden';
import { wpo } from './rows';

function runFile(yaml: string): string {
  const path = join(temporaryFolder(), 'run.yaml');
  writeFileSync(path, yaml);
  return path;
}

test('stages take what the stages before them make, and paths start from the file’s folder', async () => {
  const path = runFile(
    'output_dir: out\nsample:\n  endpoint: http://me:secret@localhost:1/v1\n  prompts: p.jsonl\n  top-p: 0.5\n' +
      'score:\n  endpoint: http://localhost:2\npair:\ntrain:\n  model_name_or_path: m\neval:\n  baseline: b.json\n' +
      '  judge: http://localhost:3\n',
  );
  const { stages } = await planRun(path, ['train.learning_rate=1e-5', 'pair.min_margin=2']);
  const [sample, score, pair, train, evaluation] = stages;
  const at = (...parts: string[]) => join(path, '..', ...parts);
  expect(sample).toMatchObject({ out: at('out/answers.jsonl'), inputs: [at('p.jsonl')], settings: { topP: 0.5 } });
  expect(sample!.servers).toEqual(['http://localhost:1/v1']);
  expect(score!.inputs).toEqual([at('out/answers.jsonl')]);
  expect(pair).toMatchObject({ inputs: [at('out/scored.jsonl')], settings: { minMargin: 2, strategy: 'max-min' } });
  expect(train).toMatchObject({ inputs: [at('m'), at('out/pairs.jsonl')], settings: { learning_rate: 1e-5 } });
  expect(evaluation!.inputs).toEqual([at('b.json'), at('out/train/model')]);
  expect(JSON.stringify(stages)).not.toContain('secret');
});

test('all mistakes of all stages are told at once, by line and key, before any stage is run', async () => {
  const path = runFile('output_dir: out\nsampel:\n');
  expect(await wpo('run', path)).toMatchObject({
    status: 1,
    err: `${path}:2: sampel: there is no such key. The nearest is "sample".\n${path}: found no stage, wanted any of sample, score, pair, weigh, train, eval.\n`,
  });
  const stages = runFile(
    'output_dir: out\nsample:\n  model: m\n  temprature: 1\n  top_p: 2\nscore:\n  api: pool\n  answers: a.jsonl\n' +
      'train:\n  model_name_or_path: m\n  train_file: t.jsonl\n\n  # a comment\n  learning_rate: no\n',
  );
  const { status, out, err } = await wpo('run', stages);
  expect({ status, out }).toEqual({ status: 1, out: '' });
  expect(err.trimEnd().split('\n')).toEqual([
    `${stages}:4: sample.temprature: there is no such key. The nearest is "temperature"; \`wpo sample --help\` lists all.`,
    `${stages}:5: sample.top_p: found 2. Wanted a number, above 0, at most 1.`,
    `${stages}: sample: prompts is missing; wanted the JSONL file of {"prompt": text or messages, "prompt_id"?}.`,
    `${stages}:7: score.api: found the text "pool". Allowed choices are pooling, classify, score.`,
    `${stages}:14: learning_rate: found the text "no", wanted a number above 0.`,
  ]);
});

test.each([
  ['options that do not go together', 'score:\n  answers: a\n', ': score: wanted one of --rewards FILE'],
  [
    'an input that is not there',
    'weigh:\n  model: ./m\n  pairs: ./p.jsonl\n',
    'p.jsonl, wanted a file or folder to read',
  ],
  [
    'an address that is none',
    'sample:\n  prompts: p\n  endpoint: nowhere\n',
    ': sample.endpoint: found the address "nowhere"',
  ],
])('%s are refused at once', async (_, yaml, message) => {
  const { status, out, err } = await wpo('run', runFile(`output_dir: out\n${yaml}`));
  expect({ status, out }).toEqual({ status: 1, out: '' });
  expect(err).toContain(message);
});

test('--set wants a stage of the file and --from one, too', async () => {
  const path = runFile('output_dir: out\npair:\n  answers: a.jsonl\n');
  expect((await wpo('run', path, '--set', 'train.beta=1')).err).toContain(
    '--set train.beta: wanted output_dir, or the key',
  );
  expect((await wpo('run', path, '--from', 'eval')).err).toContain('--from eval: found no such stage');
});
