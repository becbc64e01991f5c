import { cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { readModelFolder } from '../../src/node/model-folder';
import { checkModelFolder } from '../../src/node/not-a-model';

const tiny = fileURLToPath(new URL('../fixtures/golden/tiny', import.meta.url));

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'wpo-not-a-model-'));
});
afterEach(() => rm(dir, { recursive: true }));

async function make(files: Readonly<Record<string, string>>): Promise<void> {
  for (const [name, text] of Object.entries(files)) {
    await mkdir(dirname(join(dir, name)), { recursive: true });
    await writeFile(join(dir, name), text);
  }
}

test('a model is accepted', async () => {
  await expect(checkModelFolder(tiny)).resolves.toBeUndefined();
});

const adapter = {
  'adapter_config.json': '{"base_model_name_or_path": "google/gemma-2-2b-it"}',
  'adapter_model.safetensors': '',
};
// biome-ignore format: one case per line
const cases: [what: string, files: Record<string, string>, path: string, parts: string[]][] = [
  ['an adapter', adapter, '', ['found an adapter (LoRA) of google/gemma-2-2b-it', 'Give google/gemma-2-2b-it as the model', '`wpo merge`']],
  ["an adapter run's folder", { 'model/adapter_config.json': '{}' }, '', ['found a folder that has in it an adapter (LoRA) of its base model', '/model as its adapter']],
  ['an adapter with a broken configuration', { 'adapter_config.json': '[[' }, '', ['an adapter (LoRA) of its base model']],
  ['a GGUF folder', { 'gemma-2-2b-Q4_K_M.gguf': '' }, '', ['found a GGUF file, gemma-2-2b-Q4_K_M.gguf', 'gguf_file=']],
  ['a GGUF folder with config.json', { 'a.gguf': '', 'config.json': '{}' }, '', ['found a GGUF file, a.gguf']],
  ['a .gguf file', { 'a.gguf': '' }, 'a.gguf', ['found a GGUF file, a.gguf']],
  ['PyTorch weights', { 'config.json': '{}', 'pytorch_model-00001-of-00002.bin': '' }, '', ['PyTorch weights in a pickle file', 'safetensors only']],
  ['a .pt file', { 'x/model.pt': '' }, 'x/model.pt', ['PyTorch weights in a pickle file, model.pt']],
  ['a checkpoint of PyTorch', { 'consolidated.00.pth': '' }, '', ['PyTorch weights in a pickle file']],
  ['TensorFlow weights', { 'tf_model.h5': '' }, '', ['weights of another framework, tf_model.h5']],
  ["a run's folder", { 'model/config.json': '{}', 'metrics.jsonl': '' }, '', ['a folder that has the model in it. Give ', '/model']],
  [
    "an unfinished run's folder",
    { 'checkpoint-9/x': '', 'checkpoint-10/x': '', 'config.yaml': '' },
    '',
    ["a run's folder without a finished model. Give a checkpoint: ", '/checkpoint-10'],
  ],
  ['a repository of the cache', { 'snapshots/0123abcd/config.json': '{}', 'refs/main': '' }, '', ['Give a snapshot: ', '/snapshots/0123abcd']],
  ['a folder of models', { 'a/config.json': '{}', 'b/config.json': '{}' }, '', ['a folder of models. Give ', '/a, ', '/b']],
  ['a file of the model', { 'model.safetensors': '' }, 'model.safetensors', ['found the file model.safetensors. Give the folder it is in: ']],
  ['a text file', { 'run.yaml': '' }, 'run.yaml', ['found the file run.yaml. Give a folder with config.json']],
  ['an empty folder', {}, '', ['found an empty folder']],
  ['no folder', {}, 'none', ['found nothing: there is no such folder']],
  ['a path with a NUL', {}, 'a\0b', ['a\\u0000b: ', 'there is no such folder']],
  ['a configuration without weights', { 'config.json': '{}' }, '', ['no model.safetensors or model.safetensors.index.json beside config.json']],
  [
    'shards without an index',
    { 'config.json': '{}', 'model-00001-of-00002.safetensors': '' },
    '',
    ['found weights named model-00001-of-00002.safetensors without model.safetensors.index.json. Download the index'],
  ],
  ['weights without a configuration', { 'model.safetensors': '' }, '', ['found weights without config.json']],
  ['other files', { 'a.txt': '', 'b\u001b[2J': '' }, '', ['no config.json among its files: a.txt, b\\u001b[2J']],
];

test.each(cases)('%s is named for what it is', async (_, files, path, parts) => {
  await make(files);
  const given = path === '' ? dir : `${dir}/${path}`;
  for (const part of parts) await expect(checkModelFolder(given)).rejects.toThrow(part);
});

test('readModelFolder says so, too', async () => {
  await make(adapter);
  await expect(readModelFolder(dir)).rejects.toThrow('an adapter (LoRA) of google/gemma-2-2b-it');
  await rm(dir, { recursive: true });
  await cp(tiny, dir, { recursive: true });
  for (const name of ['model.safetensors', 'policy.safetensors']) await rm(join(dir, name));
  await expect(readModelFolder(dir)).rejects.toThrow('no model.safetensors or model.safetensors.index.json beside');
});
