import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { columnNames } from '@wpo/data';
import { dataSetName, hubNameText, modelName } from '@wpo/data/hub';
import { describe, expect, it, test } from 'vitest';
import { parseRunConfig, runConfigYaml } from '../src/run-config';
import { columnsFlag, sourceFrom } from '../src/sources';

const folder = mkdtempSync(join(tmpdir(), 'wpo-sources-'));
mkdirSync(join(folder, 'org/here'), { recursive: true });
writeFileSync(join(folder, 'pairs.jsonl'), '');

describe('sourceFrom', () => {
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
  ])('takes the model %s for %s', (source, taken) => {
    expect(sourceFrom(folder, source, 'model')).toBe(taken);
  });

  it.each([
    ['org/pairs', 'hf://datasets/org/pairs'],
    ['hf://datasets/org/pairs/data/*.parquet', 'hf://datasets/org/pairs/data/*.parquet'],
    ['data/train.jsonl', join(folder, 'data/train.jsonl')],
    ['data/train.json.gz', join(folder, 'data/train.json.gz')],
    ['data/*.parquet', join(folder, 'data/*.parquet')],
    ['pairs.jsonl', join(folder, 'pairs.jsonl')],
  ])('takes the pairs %s for %s', (source, taken) => {
    expect(sourceFrom(folder, source, 'dataset')).toBe(taken);
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
  ])('tells a name from a path as @wpo/data does: %s', (source) => {
    for (const [kind, nameOf] of [
      ['model', modelName],
      ['dataset', dataSetName],
    ] as const) {
      const name = nameOf(source);
      expect(sourceFrom('/nowhere', source, kind)).toBe(name ? hubNameText(name) : join('/nowhere', source));
    }
  });
});

describe('columnsFlag', () => {
  it('gathers fields and their columns', () => {
    expect(columnsFlag('chosen=a=b', columnsFlag('prompt=instruction'))).toEqual({
      prompt: 'instruction',
      chosen: 'a=b',
    });
    expect(() => columnsFlag('question=q')).toThrow('Wanted field=column, the field one of prompt, system, chosen,');
    expect(() => columnsFlag('prompt')).toThrow('Wanted field=column');
  });

  it('knows all fields that @wpo/data maps', () => {
    const all = columnNames.reduce((columns, name) => columnsFlag(`${name}=x`, columns), {});
    expect(Object.keys(all)).toEqual([...columnNames]);
  });
});

describe('a run file', () => {
  const least = 'model_name_or_path: org/model\ntrain_file: org/pairs\noutput_dir: out\n';
  const parse = (yaml: string, set: string[] = []) => parseRunConfig(yaml, { file: join(folder, 'run.yaml'), set });

  test('keeps names of the hub in full, so that it means the same wherever it is read', () => {
    const config = parse(`${least}ref_model_name_or_path: org/here\neval_file: hf://datasets/org/pairs@v1\n`);
    expect(config).toMatchObject({
      model_name_or_path: 'hf://org/model',
      ref_model_name_or_path: join(folder, 'org/here'),
      train_file: 'hf://datasets/org/pairs',
      eval_file: 'hf://datasets/org/pairs@v1',
    });
    expect(parse(runConfigYaml(config))).toEqual(config);
  });

  test('maps columns and names splits', () => {
    const config = parse(`${least}columns: {prompt: q, chosen: a}\ndataset_train_split: train_sft\n`);
    expect(config).toMatchObject({ columns: { prompt: 'q', chosen: 'a' }, dataset_train_split: 'train_sft' });
    expect(parse(runConfigYaml(config))).toEqual(config);
    expect(parse(least, ['columns={prompt: q}']).columns).toEqual({ prompt: 'q' });
  });

  test('says what columns are wanted', () => {
    const wanted = 'wanted columns of prompt, system, chosen, rejected, id, weight, score_chosen, score_rejected.';
    expect(() => parse(`${least}columns: {question: q}\n`)).toThrow(
      `run.yaml:4: columns: found the text "question", ${wanted}`,
    );
    expect(() => parse(`${least}columns: q\n`)).toThrow(`columns: found the text "q", ${wanted}`);
    expect(() => parse(`${least}columns: {prompt: 1}\n`)).toThrow('columns: found 1, wanted the name of a column.');
  });
});
