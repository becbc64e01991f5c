import '@wpo/tensorflow';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parquetWriteBuffer } from 'hyparquet-writer';
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { COMMIT, type Fault, hubServer } from '../../data/test/hub/hub-server';
import { scriptedServer } from '../../eval/test/scripted-server';
import type { SampleRow, WeighedPair } from '../src/index';
import { modelFolder, pairsFile, temporaryFolder } from './golden';
import { readRows, wpo } from './wpo';

const modelFiles = Object.fromEntries(
  readdirSync(modelFolder)
    .filter((name) => name !== 'policy.safetensors' && name !== 'expected.json')
    .map((name) => [name, readFileSync(join(modelFolder, name))]),
);
const pairs = readFileSync(pairsFile);
const TOKEN = 'hf_topSecret123';

let server: Awaited<ReturnType<typeof hubServer>>;

beforeAll(async () => {
  server = await hubServer({
    'org/model': { files: modelFiles, lfs: ['model.safetensors'], token: TOKEN },
    'datasets/org/pairs': { files: { 'data/train_prefs.jsonl': pairs, 'data/test_prefs.jsonl': pairs } },
  });
});
afterAll(async () => {
  vi.unstubAllEnvs();
  await server.close();
});
beforeEach(() => {
  vi.stubEnv('HF_ENDPOINT', server.url);
  vi.stubEnv('HF_HOME', temporaryFolder());
  vi.stubEnv('HF_TOKEN', TOKEN);
  for (const name of ['HF_HUB_CACHE', 'HUGGINGFACE_HUB_CACHE', 'HF_HUB_OFFLINE']) vi.stubEnv(name, undefined);
  server.faults.length = 0;
});

async function weigh(...args: string[]): Promise<WeighedPair[]> {
  const out = join(temporaryFolder(), 'weights.jsonl');
  const { status, err } = await wpo('weigh', '--out', out, ...args);
  expect(status, err).toBe(0);
  return readRows<WeighedPair>(out);
}

test('a model and pairs from the Hub give the same weights as the same files on disk', async () => {
  const file = 'hf://datasets/org/pairs/data/test_prefs.jsonl';
  const local = (await weigh('--model', modelFolder, '--pairs', pairsFile)).map((row) => ({ ...row, file }));
  expect(await weigh('--model', 'org/model', '--pairs', 'org/pairs', '--split', 'test_prefs')).toEqual(local);
  vi.stubEnv('HF_HUB_OFFLINE', '1');
  expect(await weigh('--model', 'hf://org/model', '--pairs', 'org/pairs', '--split', 'test_prefs')).toEqual(local);
});

test('wpo sample downloads a model from the Hub, and records its name as the source', async () => {
  const prompts = join(temporaryFolder(), 'prompts.jsonl');
  writeFileSync(prompts, '{"prompt": "Why?"}\n{"prompt": "How?"}\n');
  const sampled = async (model: string): Promise<SampleRow[]> => {
    const out = join(temporaryFolder(), 'answers.jsonl');
    const flags = ['--prompts', prompts, '--out', out, '--seeds', '13', '--max-new-tokens', '8'];
    const { status, err } = await wpo('sample', '--model', model, ...flags);
    expect(status, err).toBe(0);
    return readRows<SampleRow>(out);
  };
  const local = await sampled(modelFolder);
  expect(await sampled('org/model')).toEqual(local.map((row) => ({ ...row, source: 'org/model' })));
});

test('wpo run downloads the model of its sample stage', async () => {
  const folder = temporaryFolder();
  const config = join(folder, 'run.yaml');
  writeFileSync(join(folder, 'prompts.jsonl'), '{"prompt": "Why?"}\n');
  writeFileSync(
    config,
    'output_dir: out\nsample:\n  model: org/model\n  prompts: prompts.jsonl\n  seeds: [13]\n  max_new_tokens: 4\n',
  );
  const { status, err } = await wpo('run', config);
  expect(status, err).toBe(0);
  expect(JSON.parse(readFileSync(join(folder, 'out/answers.jsonl'), 'utf8'))).toMatchObject({ source: 'org/model' });
});

test('wpo eval downloads the models that it compares', async () => {
  const rewards = async (model: string) => {
    const { status, out, err } = await wpo(
      'eval',
      '--pairs',
      pairsFile,
      '--model',
      model,
      '--ref',
      model,
      '--kl-prompts',
      '0',
      '--json',
    );
    expect(status, err).toBe(0);
    return JSON.parse(out) as Record<string, number>;
  };
  expect(await rewards('org/model')).toEqual(await rewards(modelFolder));

  const judge = await scriptedServer({ chat: () => 'm' });
  const [folder, baseline] = [temporaryFolder(), join(temporaryFolder(), 'baseline.json')];
  writeFileSync(baseline, JSON.stringify([{ instruction: 'Why?', output: 'Because.', generator: 'base' }]));
  const { status, err } = await wpo(
    ...['eval', '--model', 'org/model', '--baseline', baseline, '--judge', judge.url, '--judge-form', 'verdict'],
    ...['--out', folder, '--max-new-tokens', '4'],
  );
  expect(status, err).toBe(0);
  expect(JSON.parse(readFileSync(join(folder, 'model_outputs.json'), 'utf8'))).toMatchObject([
    { instruction: 'Why?', generator: 'org-model' },
  ]);
});

describe('the first signal stops a download', () => {
  const write = (content: string) => {
    const path = join(temporaryFolder(), 'file');
    writeFileSync(path, content);
    return path;
  };
  const train = () =>
    write(`model_name_or_path: org/model\ntrain_file: ${pairsFile}\noutput_dir: ${temporaryFolder()}/run\n`);
  const run = (prompts: string) =>
    write(`output_dir: ${temporaryFolder()}/out\nsample:\n  model: org/model\n  prompts: ${prompts}\n  seeds: [1]\n`);
  const prompts = () => write('{"prompt": "Why?"}\n');
  const commands: [string, () => string[]][] = [
    ['weigh', () => ['--model', 'org/model', '--pairs', pairsFile, '--out', write('')]],
    ['weigh', () => ['--model', modelFolder, '--pairs', 'org/pairs', '--out', write('')]],
    ['generate', () => ['--model', 'org/model', '--prompt', 'Why?']],
    [
      'sample',
      () => ['--model', 'org/model', '--prompts', prompts(), '--out', join(temporaryFolder(), 'answers.jsonl')],
    ],
    ['eval', () => ['--model', 'org/model', '--pairs', pairsFile]],
    ['inspect', () => ['org/pairs']],
    ['inspect', () => [pairsFile, '--tokenizer', 'org/model']],
    ['train', () => [train()]],
    ['run', () => [run(prompts())]],
  ];

  test.each(commands)('wpo %s, %#', async (command, args) => {
    const file = /-\/model\.safetensors|resolve.*train_prefs|resolve.*test_prefs/;
    server.faults.push({ on: file, times: 9, cutAfter: 100, cutWhen: new Promise(() => {}) });
    server.requests.length = 0;
    const listeners = process.listenerCount('SIGINT');
    const running = wpo(command, ...args());
    await vi.waitFor(() => expect(server.requests.some(({ url }) => file.test(url))).toBe(true), 60_000);
    process.emit('SIGINT', 'SIGINT');
    const { status, err } = await running;
    expect(status, err).toBe(130);
    expect(err).toContain('SIGINT: stopped while reading or downloading. The same command resumes a download.');
    expect(process.listenerCount('SIGINT')).toBe(listeners);
  });
});

test('flags name the columns of a Parquet file', async () => {
  const folder = temporaryFolder();
  const rows = [
    { q: 'Why?', good: 'Because.', bad: 'No.' },
    { q: 'When?', good: 'Now.', bad: 'Never, or in a while.' },
  ];
  const columnData = (['q', 'good', 'bad'] as const).map((name) => ({ name, data: rows.map((row) => row[name]) }));
  writeFileSync(join(folder, 'pairs.parquet'), new Uint8Array(parquetWriteBuffer({ columnData })));
  const lines = rows.map(({ q, good, bad }) => JSON.stringify({ prompt: q, chosen: good, rejected: bad }));
  writeFileSync(join(folder, 'same.jsonl'), lines.join('\n'));
  const mapped = await weigh(
    ...['--model', modelFolder, '--pairs', join(folder, '*.parquet')],
    ...['--columns', 'prompt=q', '--columns', 'chosen=good', '--columns', 'rejected=bad'],
  );
  const file = join(folder, 'pairs.parquet');
  const same = await weigh('--model', modelFolder, '--pairs', join(folder, 'same.jsonl'));
  expect(mapped).toEqual(same.map((row, i) => ({ ...row, file, id: `${file}:${i + 1}` })));
});

test('training accepts names on the Hub, keeps them in config.yaml, and reads the cached files', async () => {
  const folder = temporaryFolder();
  const config = join(folder, 'run.yaml');
  writeFileSync(
    config,
    'model_name_or_path: org/model\ntrain_file: org/pairs\neval_file: org/pairs\noutput_dir: run\nmax_steps: 1\n',
  );
  server.faults.push({ on: /-\/model.safetensors/, cutAfter: 1000 } satisfies Fault);
  const { status, out, err } = await wpo('train', config);
  expect(status, err).toBe(0);
  expect(out).toContain('Training on 16 pairs, 16 held out');
  expect(readFileSync(join(folder, 'run/config.yaml'), 'utf8')).toContain('model_name_or_path: hf://org/model\n');
  const snapshot = join(process.env.HF_HOME!, 'hub/datasets--org--pairs/snapshots', COMMIT);
  expect(readdirSync(join(snapshot, 'data')).sort()).toEqual(['test_prefs.jsonl', 'train_prefs.jsonl']);
  expect(readdirSync(join(folder, 'run/model'))).toContain('model.safetensors');
  expect(out + err).not.toContain(TOKEN);
});

test('a failed download is reported in one message, without a stack and without the token', async () => {
  vi.stubEnv('HF_TOKEN', `${TOKEN}4`);
  const { status, err } = await wpo('generate', '--model', 'org/model', '--prompt', 'Hello');
  expect(status).toBe(1);
  expect(err).toBe(
    'hf://org/model: the hub answered 401: there is no such model, or it is private, and there is no local path of that ' +
      `name. HF_TOKEN was sent: check that it grants access. There is no local folder ${join(process.cwd(), 'org/model')} either.\n`,
  );
});

test('an adapter of a model on the Hub names it as PEFT finds it, and its card names it too', async () => {
  const folder = temporaryFolder();
  const config = join(folder, 'run.yaml');
  writeFileSync(
    config,
    'model_name_or_path: org/model\ntrain_file: org/pairs\ndataset_train_split: train_prefs\noutput_dir: out\nuse_peft: true\nmax_steps: 1\n',
  );
  const { status, err } = await wpo('train', config);
  expect(status, err).toBe(0);
  const settings = JSON.parse(readFileSync(join(folder, 'out/model/adapter_config.json'), 'utf8'));
  expect(settings).toMatchObject({ base_model_name_or_path: 'org/model', revision: null });
  expect(readFileSync(join(folder, 'out/model/README.md'), 'utf8')).toMatch(
    /^---\nbase_model: org\/model\nbase_model_relation: adapter\n.*datasets:\n {2}- org\/pairs\n/s,
  );
});
