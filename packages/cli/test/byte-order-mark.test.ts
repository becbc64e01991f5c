import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { encodePrompt } from '@wpo/data';
import { loadTokenizerFolder } from '@wpo/data/node';
import { readModelFolder } from '@wpo/gemma/node';
import { expect, test } from 'vitest';
import { readTrainConfig } from '../src/index';
import { planRun } from '../src/run/plan';
import { goldenConfig, modelFolder, temporaryFolder } from './golden';

const mark = (path: string) => writeFileSync(path, `\ufeff${readFileSync(path, 'utf8')}`);

async function modelIn(folder: string) {
  const { config, stopIds, checkpoint } = await readModelFolder(folder);
  await checkpoint.close();
  const { tokenizer, chatTemplate } = await loadTokenizerFolder(folder);
  const ids = encodePrompt([{ role: 'user', content: 'Why?' }], { tokenizer, chatTemplate });
  return { config, stopIds, chatTemplate, ids };
}

test.each(['config.json', 'generation_config.json', 'tokenizer.json', 'tokenizer_config.json', 'chat_template.jinja'])(
  'a byte-order mark at the start of %s is ignored',
  async (name) => {
    const folder = join(temporaryFolder(), 'model');
    cpSync(modelFolder, folder, { recursive: true });
    mark(join(folder, name));
    expect(await modelIn(folder)).toEqual(await modelIn(modelFolder));
  },
);

test('the tokenizer is checked against a config.json that begins with a byte-order mark', async () => {
  const folder = join(temporaryFolder(), 'model');
  cpSync(modelFolder, folder, { recursive: true });
  writeFileSync(join(folder, 'config.json'), '\ufeff{"vocab_size": 3}');
  await expect(loadTokenizerFolder(folder)).rejects.toThrow('expected ids from 0 to 2');
});

test.each([
  ['YAML', (yaml: string) => yaml],
  ['JSON over several lines', (yaml: string) => `{\n${yaml.trim().replaceAll('\n', ',\n')}\n}\n`],
])('a byte-order mark at the start of a configuration is ignored: %s', async (_, form) => {
  const path = goldenConfig(temporaryFolder());
  const expected = await readTrainConfig(path);
  writeFileSync(path, form(readFileSync(path, 'utf8')));
  mark(path);
  expect(await readTrainConfig(path)).toEqual(expected);
});

test('a byte-order mark at the start of a run file is ignored', async () => {
  const path = join(temporaryFolder(), 'run.yaml');
  writeFileSync(path, 'output_dir: out\nsample:\n  model: m\n  prompts: p.jsonl\n');
  const stages = async () => JSON.stringify((await planRun(path)).stages);
  const expected = await stages();
  mark(path);
  expect(await stages()).toBe(expected);
});
