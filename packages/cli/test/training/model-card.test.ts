import { cpSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { parse } from 'yaml';
import { goldenConfig, modelFolder, pairsFile, readMetrics, temporaryFolder, trainFrom } from '../golden';
import { capture, wpo } from '../wpo';

const folder = temporaryFolder();
const base = join(folder, 'a<b>`c|*d');

const IMAGES = ['training-loss.svg', 'training-margins.svg', 'training-weights.svg'];

/** The metadata and the text of a folder's card. */
function readCard(path: string) {
  const [, yaml, text] = /^---\n(.*?)\n---\n(.*)$/s.exec(readFileSync(join(path, 'README.md'), 'utf8'))!;
  return { metadata: parse(yaml!) as Readonly<Record<string, unknown>>, text: text! };
}

beforeAll(async () => {
  cpSync(modelFolder, base, { recursive: true });
  writeFileSync(
    join(base, 'README.md'),
    '---\nlicense: gemma\nlicense_link: https://example.org/terms\ntags: [x]\n---\n# Base\n',
  );
  const set = [`model_name_or_path=${JSON.stringify(base)}`, 'max_steps=4', 'eval_split=4'];
  await trainFrom({ config: goldenConfig(folder), set }, capture());
});

test('a trained model has a card with metadata, results, data, settings and the citation', () => {
  const { metadata, text } = readCard(join(folder, 'run/model'));
  expect(metadata).toEqual({
    library_name: 'transformers',
    pipeline_tag: 'text-generation',
    tags: ['gemma2', 'preference-optimization', 'wpo'],
    license: 'gemma',
    license_link: 'https://example.org/terms',
  });
  const rows = readMetrics(join(folder, 'run'));
  const last = rows.filter((row) => row.eval_loss !== undefined).at(-1)!;
  expect(text).toContain('| held-out pairs | before | after step 4 |');
  expect(text).toContain(`| ${last.eval_loss!.toFixed(4)} |`);
  expect(text).toContain(`| 4 | ${rows.find((row) => row.step === 4)!.loss!.toFixed(4)} |`);
  expect(text).toMatch(/\n\| learning\\_rate \| 0\.001 \|\n/);
  expect(text).toContain('| pairs.jsonl |  |  |\n| of the same pairs |  | held out: 4 |');
  expect(text.match(/!\[.*\]\(.*\)/g)).toEqual([
    ...['![Loss](training-loss.svg)', '![Reward margin](training-margins.svg)'],
    '![Distribution of weights](training-weights.svg)',
  ]);
  for (const name of IMAGES) {
    expect(readFileSync(join(folder, 'run/model', name), 'utf8')).toMatch(/^<svg .*<\/svg>\n$/s);
  }
  expect(text).toContain('@inproceedings{zhou-etal-2024-wpo,');
  expect(text).not.toContain(folder);
});

test('names have no meaning in Markdown or HTML', () => {
  expect(readCard(join(folder, 'run/model')).text).toContain('A fine-tuned a&lt;b&gt;\\`c\\|\\*d, trained on');
});

test('an adapter’s card names its base model and PEFT; the merged model keeps the card', async () => {
  const held = `eval_file=[{path: ${pairsFile}}]`;
  const set = ['use_peft=true', 'max_steps=1', `output_dir=${folder}/adapter`, 'use_weighting=false', held];
  await trainFrom({ config: goldenConfig(folder), set }, capture());
  const adapter = join(folder, 'adapter/model');
  const { metadata, text } = readCard(adapter);
  expect(metadata).toMatchObject({ library_name: 'peft', tags: ['gemma2', 'preference-optimization', 'dpo', 'lora'] });
  expect(text).toContain('AutoPeftModelForCausalLM');
  expect(text).not.toContain('bibtex');
  expect(text).toContain('| pairs.jsonl |  |  |\n| pairs.jsonl |  | held out |');
  expect(text).not.toMatch(/eval\\_file|object Object/);
  const out = join(folder, 'merged');
  expect((await wpo('merge', '--model', modelFolder, '--adapter', adapter, '--out', out)).status).toBe(0);
  const merged = readCard(out);
  expect(merged.metadata).toEqual({
    ...metadata,
    library_name: 'transformers',
    tags: ['gemma2', 'preference-optimization', 'dpo'],
  });
  expect(merged.text).not.toContain('AutoPeftModelForCausalLM');
  expect(merged.text).toContain('The adapter is merged into the weights');
  expect(merged.text).toContain('## Settings');
  // all weights are 1
  expect(readdirSync(out).filter((name) => name.endsWith('.svg'))).toEqual(IMAGES.slice(0, 2));
  for (const name of IMAGES.slice(0, 2)) {
    expect(readFileSync(join(out, name), 'utf8')).toBe(readFileSync(join(adapter, name), 'utf8'));
  }
});

test('models and data sets of the Hub are in the metadata', async () => {
  const { modelCard } = await import('../../src/training/model-card');
  const { parseTrainConfig } = await import('../../src/schemas/train');
  const { runFolder } = await import('../../src/training/run-folder');
  const yaml = `model_name_or_path: google/gemma-2-2b-it\noutput_dir: ${folder}/run\ntrain_file: [{path: org/a, split: train}, {path: "hf://datasets/org/b@v1/x.jsonl"}, {path: ${pairsFile}}]\n`;
  const { config } = parseTrainConfig(yaml, { file: join(folder, 'hub.yaml') });
  const { 'README.md': card } = await modelCard({
    config,
    folder: runFolder(join(folder, 'run')),
    baseFolder: '/nowhere',
  });
  expect(parse(card!.split('---\n')[1]!)).toMatchObject({
    base_model: 'google/gemma-2-2b-it',
    base_model_relation: 'finetune',
    datasets: ['org/a', 'org/b'],
  });
  expect(card).toContain('| org/a | train |  |\n| org/b |  |  |\n| pairs.jsonl |  |  |');
});
