import { describe, expect, it } from 'vitest';
import { chooseSplit, isDataFile, splitOf } from '../../src/rows/splits';

describe('splitOf', () => {
  it.each([
    ['data/train_prefs-00000-of-00001.parquet', 'train_prefs'],
    ['data/train-00000-of-00002-a09b74b3ef9c3b56.parquet', 'train'],
    ['helpful-base/train.jsonl.gz', 'train'],
    ['default/train/0000.parquet', 'train'],
    ['validation/part_3.jsonl', undefined],
    ['test.json', 'test'],
    ['red_team_attempts.jsonl.gz', undefined],
    ['training-set.jsonl.zst', 'training-set'],
    ['trainer.jsonl', undefined],
    ['evol_instruct.jsonl', undefined],
  ])('of %s', (path, split) => {
    expect(splitOf(path)).toBe(split);
  });
});

it('files that describe the data set or a model are not data files', () => {
  const names = ['dataset_infos.json', 'a/state.json', 'config.json', 'tokenizer_config.json', '.x.jsonl', 'README.md'];
  expect(names.filter(isDataFile)).toEqual([]);
  expect(isDataFile('a/b.c.JSONL.gz')).toBe(true);
});

describe('chooseSplit', () => {
  const binarized = ['train_prefs', 'train_sft', 'test_prefs', 'test_sft', 'train_gen'].map(
    (split) => `data/${split}-00000-of-00001.parquet`,
  );

  it('chooses UltraFeedback’s preferences by default', () => {
    expect(chooseSplit([...binarized, 'README.md'])).toEqual({ files: [binarized[0]] });
    expect(chooseSplit(binarized, 'test_prefs')).toEqual({ files: [binarized[2]] });
  });

  it('chooses the train split of all folders, as in HH-RLHF, without files that belong to no split', () => {
    const files = [
      'helpful-base/train.jsonl.gz',
      'harmless-base/train.jsonl.gz',
      'helpful-base/test.jsonl.gz',
      'red.jsonl',
    ];
    expect(chooseSplit(files)).toEqual({ files: [files[1], files[0]] });
  });

  it('chooses all files if no name contains a split', () => {
    expect(chooseSplit(['b.jsonl', 'a.jsonl'])).toEqual({ files: ['a.jsonl', 'b.jsonl'] });
    expect(chooseSplit(['b.jsonl', 'a.jsonl'], 'train')).toEqual({ files: ['a.jsonl', 'b.jsonl'] });
  });

  it('lists the splits if the choice is unclear', () => {
    expect(chooseSplit(['dev.json', 'test.json'])).toEqual({
      fault: 'expected a split to read, found the splits dev, test. Name one of them with split, or a path',
    });
    expect(chooseSplit(['test.json'])).toEqual({ files: ['test.json'] });
  });

  it('chooses the first of several that exists', () => {
    expect(chooseSplit(binarized, ['validation', 'test', 'test_prefs'])).toEqual({ files: [binarized[2]] });
    expect(chooseSplit(['train.json'], ['test', 'validation'])).toEqual({ files: ['train.json'] });
  });

  it('reports missing shards', () => {
    expect(chooseSplit(['train-00000-of-00003.parquet', 'train-00002-of-00003.parquet'])).toEqual({
      fault: 'expected all shards of train-00000-of-00003.parquet, found only some. Download the others',
    });
  });
});
