import '@wpo/tensorflow';
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { hubServer } from '../../data/test/hub/hub-server';
import { modelFolder, pairsFile, peftAdapter, temporaryFolder } from './golden';
import { wpo } from './wpo';

// What is given as a model, in every command that takes one.

let server: Awaited<ReturnType<typeof hubServer>>;
let folder: string;
let prompts: string;
let baseline: string;

beforeAll(async () => {
  const names = ['adapter_config.json', 'adapter_model.safetensors'];
  const adapter = names.map((name) => [name, readFileSync(join(peftAdapter('layers'), name))] as const);
  server = await hubServer({ 'org/other': { files: {} }, 'org/adapter': { files: Object.fromEntries(adapter) } });
});
afterAll(async () => {
  vi.unstubAllEnvs();
  await server.close();
});
beforeEach(() => {
  vi.stubEnv('HF_ENDPOINT', server.url);
  vi.stubEnv('HF_HOME', temporaryFolder());
  folder = temporaryFolder();
  prompts = join(folder, 'prompts.jsonl');
  writeFileSync(prompts, '{"prompt": "Why?"}\n');
  baseline = join(folder, 'baseline.json');
  writeFileSync(baseline, JSON.stringify([{ instruction: 'Why?', output: 'Because.', generator: 'base' }]));
});

const out = () => join(folder, 'out');

const trainWith = (keys: string) => {
  const config = join(folder, 'run.yaml');
  writeFileSync(config, `train_file: ${pairsFile}\noutput_dir: run\nmax_steps: 1\n${keys}`);
  return ['train', config];
};

const commands: [string, (model: string) => string[]][] = [
  ['generate', (model) => ['generate', '--model', model, '--prompt', 'Why?']],
  ['sample', (model) => ['sample', '--model', model, '--prompts', prompts, '--out', out()]],
  ['weigh', (model) => ['weigh', '--model', model, '--pairs', pairsFile, '--out', out()]],
  ['weigh --ref', (model) => ['weigh', '--model', modelFolder, '--ref', model, '--pairs', pairsFile, '--out', out()]],
  ['inspect --model', (model) => ['inspect', pairsFile, '--model', model]],
  ['eval --pairs', (model) => ['eval', '--pairs', pairsFile, '--model', model]],
  ['eval --pairs --ref', (model) => ['eval', '--pairs', pairsFile, '--model', modelFolder, '--ref', model]],
  [
    'eval --baseline',
    (model) => ['eval', '--baseline', baseline, '--model', model, '--judge', 'http://127.0.0.1:9', '--out', out()],
  ],
  ['train', (model) => trainWith(`model_name_or_path: ${model}\n`)],
  ['train, reference', (model) => trainWith(`model_name_or_path: ${modelFolder}\nref_model_name_or_path: ${model}\n`)],
];

describe.each(commands)('%s', (_, args) => {
  const refused = async (model: string) => {
    const { status, err } = await wpo(...args(model));
    expect(status).toBe(1);
    expect(err).not.toMatch(/^ +at /m); // a stack
    return err;
  };

  test('says that a folder does not exist', async () => {
    expect(await refused(join(folder, 'modle'))).toContain(
      `${join(folder, 'modle')}: expected a model's folder in Hugging Face's layout, found nothing: there is no such folder`,
    );
  });

  test('names an adapter', async () => {
    writeFileSync(join(folder, 'adapter_config.json'), '{"base_model_name_or_path": "google/gemma-2-2b-it"}');
    expect(await refused(folder)).toContain('found an adapter (LoRA) of google/gemma-2-2b-it');
  });

  test("says which folder of a run's folder to give", async () => {
    cpSync(modelFolder, join(folder, 'run-1/model'), { recursive: true });
    expect(await refused(join(folder, 'run-1'))).toContain(`Give ${join(folder, 'run-1/model')}`);
  });

  test('says that a name is neither on the Hub nor a folder', async () => {
    const err = await refused('packages/loos');
    expect(err).toContain('the hub answered 401: there is no such model');
    expect(err).toContain('packages/loos either; did you mean packages/loss?');
  });
});

describe.each<[string, (adapter: string) => string[]]>([
  [
    'generate',
    (adapter) => [
      'generate',
      '--model',
      modelFolder,
      '--adapter',
      adapter,
      '--prompt',
      'Why?',
      '--max-new-tokens',
      '2',
    ],
  ],
  [
    'sample',
    (adapter) => [
      ...['sample', '--model', modelFolder, '--adapter', adapter, '--prompts', prompts],
      ...['--out', out(), '--max-new-tokens', '2', '-n', '1'],
    ],
  ],
  ['weigh', (adapter) => ['weigh', '--model', modelFolder, '--adapter', adapter, '--pairs', pairsFile, '--out', out()]],
  ['eval --pairs', (adapter) => ['eval', '--pairs', pairsFile, '--model', modelFolder, '--adapter', adapter]],
  ['merge', (adapter) => ['merge', '--model', modelFolder, '--adapter', adapter, '--out', out()]],
  ['train', (adapter) => trainWith(`model_name_or_path: ${modelFolder}\nadapter_name_or_path: ${adapter}\n`)],
])('the adapter of %s', (_, args) => {
  const refused = async (adapter: string) => {
    const { status, err } = await wpo(...args(adapter));
    expect(status).toBe(1);
    expect(err).not.toMatch(/^ +at /m); // a stack
    return err;
  };

  test('can be on the Hub', async () => {
    const { status, err } = await wpo(...args('hf://org/adapter'));
    expect(status, err).toBe(0);
  });

  test('is named for what it is, if it is something else', async () => {
    const nowhere = join(folder, 'nowhere');
    expect(await refused(nowhere)).toContain(`${nowhere}: expected an adapter's folder in PEFT's format`);
    expect(await refused(modelFolder)).toContain('found a whole model. Give it as the model, without an adapter.');
    cpSync(peftAdapter('layers'), join(folder, 'run-1/model'), { recursive: true });
    expect(await refused(join(folder, 'run-1'))).toContain(`Give ${join(folder, 'run-1/model')}`);
  });

  test('of another model is refused', async () => {
    cpSync(peftAdapter('layers'), folder, { recursive: true });
    const path = join(folder, 'adapter_config.json');
    writeFileSync(path, readFileSync(path, 'utf8').replace('"r": 2', '"r": 5'));
    expect(await refused(folder)).toContain(
      'of another shape base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight',
    );
  });
});

test('a hub that cannot be reached does not hide a mistyped folder', async () => {
  vi.stubEnv('HF_HUB_OFFLINE', '1');
  mkdirSync(join(folder, 'runs/model'), { recursive: true });
  const { status, err } = await wpo('generate', '--model', 'packages/gemmma', '--prompt', 'Why?');
  expect(status).toBe(1);
  expect(err).toContain('packages/gemmma either; did you mean packages/gemma?');
});

test('a weight that is not finite is an error that names it', async () => {
  cpSync(modelFolder, folder, { recursive: true });
  const file = join(folder, 'model.safetensors');
  const bytes = readFileSync(file);
  bytes.writeFloatLE(NaN, bytes.length - 4);
  writeFileSync(file, bytes);
  for (const [name, args] of commands.filter(([name]) => !name.includes('baseline'))) {
    const { status, err } = await wpo(...args(folder));
    expect(status).toBe(1);
    expect(err, name).toContain(
      name === 'train' // whose weights are scanned when they are loaded
        ? 'tensor "model.norm.weight": expected finite numbers, found NaN at index 63'
        : 'The weight "model.norm.weight" has NaN at index 63',
    );
    expect(err).not.toMatch(/^ +at /m);
  }
});

test('an answer of a billion tokens is refused', async () => {
  const { status, err } = await wpo(...commands[0]![1](modelFolder), '--max-new-tokens', '1e9');
  expect(status).toBe(1);
  expect(err).toContain('--max-new-tokens: expected a whole number from 1 to 1048576, found "1e9".');
});
