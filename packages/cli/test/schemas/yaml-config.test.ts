import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, test } from 'vitest';
import { dataSetName, hubNameText, modelName } from '../../../data/src/hub/repository';
import { trainSchema } from '../../src/schemas/train';
import { configYaml, parseConfig, resolveLocation } from '../../src/schemas/yaml-config';

const folder = mkdtempSync(join(tmpdir(), 'wpo-sources-'));
mkdirSync(join(folder, 'org/here'), { recursive: true });
writeFileSync(join(folder, 'pairs.jsonl'), '');

test('reads a configuration that is written as JSON, with any of its keys', () => {
  const config = { model_name_or_path: '/models/m', train_file: '/pairs.jsonl', output_dir: '/run', completion: 'trl' };
  expect(parseConfig(trainSchema, JSON.stringify(config), { file: '/run.yaml' })).toMatchObject({ completion: 'trl' });
});

describe('resolveLocation', () => {
  it.each([
    ['org/here', join(folder, 'org/here')],
    ['org/there', 'hf://org/there'],
    ['google/gemma-2-9b-it', 'hf://google/gemma-2-9b-it'],
    ['hf://org/here@v1', 'hf://org/here@v1'],
    ['gemma', join(folder, 'gemma')],
    ['./org/there', join(folder, 'org/there')],
    ['../org/there', join(folder, '../org/there')],
    ['a/b/c', join(folder, 'a/b/c')],
    ['/org/there', '/org/there'],
  ])('resolves the model %s to %s', (source, taken) => {
    expect(resolveLocation(folder, source, 'model')).toBe(taken);
  });

  it.each([
    ['org/pairs', 'hf://datasets/org/pairs'],
    ['hf://datasets/org/pairs/data/*.parquet', 'hf://datasets/org/pairs/data/*.parquet'],
    ['data/train.jsonl', join(folder, 'data/train.jsonl')],
    ['data/train.json.gz', join(folder, 'data/train.json.gz')],
    ['data/*.parquet', join(folder, 'data/*.parquet')],
    ['pairs.jsonl', join(folder, 'pairs.jsonl')],
  ])('resolves the pairs %s to %s', (source, taken) => {
    expect(resolveLocation(folder, source, 'dataset')).toBe(taken);
  });

  it.each([
    'org/pairs',
    'o.r-g/p_a.i-rs',
    'data/t.jsonl',
    'a/b.JSON.GZ',
    '-a/b',
    'a/-b',
    '.a/b',
    'a',
    'a/b/c',
    'a b/c',
    'a/*',
  ])('distinguishes names from paths as @wpo/data does: %s', (source) => {
    for (const [kind, nameOf] of [
      ['model', modelName],
      ['dataset', dataSetName],
    ] as const) {
      const name = nameOf(source);
      expect(resolveLocation('/nowhere', source, kind)).toBe(name ? hubNameText(name) : join('/nowhere', source));
    }
  });
});

test('names on the Hub are kept in full, so that they mean the same wherever they are read', () => {
  const yaml = 'model_name_or_path: org/model\ntrain_file: org/pairs\noutput_dir: out\n';
  const parse = (text: string) => parseConfig(trainSchema, text, { file: join(folder, 'run.yaml') });
  const config = parse(`${yaml}ref_model_name_or_path: org/here\neval_file: hf://datasets/org/pairs@v1\n`);
  expect(config).toMatchObject({
    modelNameOrPath: 'hf://org/model',
    refModelNameOrPath: join(folder, 'org/here'),
    trainFile: 'hf://datasets/org/pairs',
    evalFile: 'hf://datasets/org/pairs@v1',
  });
  expect(parse(configYaml(trainSchema, config))).toEqual(config);
});
