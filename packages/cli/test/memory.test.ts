import '@wpo/tensorflow';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gemma2_2b, gemma2_27b, modelOfShapes, type Weight } from '@wpo/gemma';
import { weightStorage } from '@wpo/tensorflow/kernels';
import { adamW } from '@wpo/trainer';
import { afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { activationBudget, checkMemory, gradientBytes, largestPass, warnOfMappedWeights } from '../src/memory';
import { modelFolder, pairsFile, temporaryFolder } from './golden';
import { sparseModel } from './sparse-model';
import { capture, wpo } from './wpo';

afterEach(() => {
  vi.unstubAllEnvs();
});

describe('a model that no machine has room for is refused before its weights are read, by', () => {
  let folder: string;
  let huge: string;
  beforeAll(() => {
    huge = sparseModel({ ...gemma2_27b, intermediateSize: 24 * gemma2_27b.intermediateSize });
    folder = temporaryFolder();
    writeFileSync(join(folder, 'prompts.jsonl'), '{"prompt": "Why?"}\n');
    writeFileSync(join(folder, 'baseline.json'), '[{"instruction": "Why?", "output": "No.", "generator": "base"}]');
    writeFileSync(
      join(folder, 'run.yaml'),
      `model_name_or_path: ${modelFolder}\ntrain_file: ${pairsFile}\noutput_dir: run\nmax_steps: 1\n`,
    );
  });

  test.each<[string, () => string[]]>([
    ['generate', () => ['generate', '--dtype', 'float32', '--model', huge, '--prompt', 'Why?']],
    [
      'sample',
      () => [
        'sample',
        '--dtype',
        'float32',
        '--model',
        huge,
        '--prompts',
        join(folder, 'prompts.jsonl'),
        '--out',
        join(folder, 'a'),
      ],
    ],
    ['weigh', () => ['weigh', '--dtype', 'float32', '--model', huge, '--pairs', pairsFile, '--out', join(folder, 'w')]],
    [
      'weigh --ref',
      () => [
        'weigh',
        '--dtype',
        'float32',
        '--model',
        modelFolder,
        '--ref',
        huge,
        '--pairs',
        pairsFile,
        '--out',
        join(folder, 'w'),
      ],
    ],
    ['inspect', () => ['inspect', pairsFile, '--dtype', 'float32', '--model', huge]],
    ['eval --pairs', () => ['eval', '--pairs', pairsFile, '--dtype', 'float32', '--model', huge]],
    [
      'eval --pairs --ref',
      () => ['eval', '--pairs', pairsFile, '--dtype', 'float32', '--model', modelFolder, '--ref', huge],
    ],
    [
      'eval --baseline',
      () => [
        ...['eval', '--dtype', 'float32', '--model', huge, '--baseline', join(folder, 'baseline.json')],
        ...['--judge', 'http://127.0.0.1:9', '--out', join(folder, 'e')],
      ],
    ],
    [
      'train, reference',
      () => ['train', join(folder, 'run.yaml'), '--set', `ref_model_name_or_path=${huge}`, '--set', 'dtype=float32'],
    ],
  ])('%s', async (_, args) => {
    const { status, err } = await wpo(...args());
    expect(err).toContain('566.39 billion parameters in float32 takes weights 2265.6 GB');
    expect(err).toMatch(/expected \d{4,5}\.\d GB of free memory, found \d+\.\d+ GB \(/);
    expect(err).not.toMatch(/^ +at /m);
    expect(status).toBe(1);
  });

  test.each<[string, string, RegExp]>([
    ['train', 'model_name_or_path', /weights, float32 +2265\.6\n[\s\S]*\nNo setting makes this run fit: /],
    [
      'train, reference in memory',
      'ref_model_name_or_path',
      /weights of the reference +2265\.6\n[\s\S]*\nSettings with which it fits:\n {2}precompute_ref_log_probs: true +0\.\d\d GB\n/,
    ],
  ])('%s', async (_, key, rows) => {
    const settings = [`${key}=${huge}`, 'dtype=float32', 'precompute_ref_log_probs=false'];
    const { status, err } = await wpo('train', join(folder, 'run.yaml'), ...settings.flatMap((one) => ['--set', one]));
    expect(err).toMatch(/^This run does not fit in memory: expected \d{4,5}\.\d GB of memory, found \d+\.\d+ GB \(/);
    expect(err).toMatch(rows);
    expect(err).toMatch(/\nWPO_MEMORY_CHECK=0 starts anyway\.\n$/);
    expect(status).toBe(1);
  });
});

describe('the message of checkMemory', () => {
  const GB = 1e9;
  const score = { kind: 'score', tokens: 100, answerTokens: 50 } as const;
  let folder: string;
  beforeAll(() => {
    folder = sparseModel(gemma2_2b);
  });

  type Available = ReturnType<Parameters<typeof checkMemory>[1]['availableMemory']>;
  type Dtype = 'auto' | 'float32' | 'bfloat16';
  const check = async (
    models: Parameters<typeof checkMemory>[0],
    available: Available,
    dtype: Dtype = 'float32',
    checked = checkMemory,
  ) => {
    const terminal = capture();
    await checked(models, { availableMemory: () => available, storage: weightStorage({ dtype }) }, terminal);
    return terminal.err();
  };

  test('has the numbers, and what would make the model fit', async () => {
    await expect(check([{ folder, use: score }], { bytes: 5 * GB, limit: 'machine' })).rejects.toThrow(
      `${folder}: running 2.61 billion parameters in float32 takes weights 10.5 GB, largest pass 0.05 GB: expected 10.5 GB of free ` +
        'memory, found 5.0 GB (of this machine). No option makes this model fit: use a smaller one, or a machine with more memory. ' +
        'WPO_MEMORY_CHECK=0 starts anyway.',
    );
  });

  test('names the options that make a pass smaller, where the weights fit', async () => {
    const long = { kind: 'score', tokens: 1_000_000, answerTokens: 20_000 } as const;
    await expect(check([{ folder, use: long }], { bytes: 45 * GB, limit: 'container' })).rejects.toThrow(
      /found 45\.0 GB \(under the memory limit of this container\)\. Lower the maximum length of pairs .* or raise the memory limit of the container\./,
    );
    const answers = { kind: 'generate', answers: 8, promptTokens: 20, maxNewTokens: 100_000 } as const;
    await expect(check([{ folder, use: answers }], { bytes: 45 * GB, limit: 'ulimit -v' })).rejects.toThrow(
      /keys and values of 8 x 100020 tokens 170\.4 GB.* Lower the number of new tokens .*, or raise `ulimit -v`\./,
    );
  });

  test('adds up models that are in memory together', async () => {
    const models = [
      { folder, use: score },
      { folder, use: score },
    ];
    await expect(check(models, { bytes: 20 * GB, limit: 'GPU' })).rejects.toThrow(
      /running 2\.61 billion .*; .*running 2\.61 billion .*: expected 21\.0 GB of free memory, found 20\.0 GB \(of the GPU\)/,
    );
    expect(await check(models, { bytes: 22 * GB, limit: 'GPU' })).toBe('');
  });

  test('does not count weights in a mapped file, except in address space', async () => {
    const answers = { kind: 'generate', answers: 8, promptTokens: 20, maxNewTokens: 10_000 } as const;
    await expect(check([{ folder, use: answers }], { bytes: 5 * GB, limit: 'machine' }, 'auto')).rejects.toThrow(
      `${folder}: generating with 2.61 billion parameters takes keys and values of 8 x 10020 tokens 17.1 GB, largest pass 0.01 GB ` +
        '(not the 5.2 GB of weights, which are mapped from their file): expected 17.1 GB of free memory, found 5.0 GB',
    );
    expect(await check([{ folder, use: score }], { bytes: 0.5 * GB, limit: 'machine' }, 'auto')).toBe('');
    await expect(check([{ folder, use: score }], { bytes: 5 * GB, limit: 'ulimit -v' }, 'auto')).rejects.toThrow(
      'running 2.61 billion parameters takes weights in a mapped file 5.2 GB, largest pass 0.05 GB: expected 5.3 GB of free memory, ' +
        'found 5.0 GB (under `ulimit -v`). No option makes this model fit',
    );
  });

  test('warns of a mapped file that is larger than the free memory', async () => {
    const warn: typeof checkMemory = ([model], ...others) => warnOfMappedWeights(model!, ...others);
    const small = { bytes: 5 * GB, limit: 'machine' } as const;
    expect(await check([{ folder, use: score }], small, 'auto', warn)).toBe(
      `${folder}: its weights take 5.2 GB, and 5.0 GB of memory are free. They are read from the disk as they are used, and again in ` +
        'each pass, which is slow.\n',
    );
    expect(await check([{ folder, use: score }], { ...small, bytes: 6 * GB }, 'auto', warn)).toBe('');
  });

  test('is a warning if WPO_MEMORY_CHECK is 0; nothing is checked if the memory is not known', async () => {
    expect(await check([{ folder, use: score }], undefined)).toBe('');
    vi.stubEnv('WPO_MEMORY_CHECK', '0');
    expect(await check([{ folder, use: score }], { bytes: GB, limit: 'machine' })).toMatch(
      /found 1\.0 GB \(of this machine\)\. Continuing, because WPO_MEMORY_CHECK is 0\.\n$/,
    );
  });
});

describe('of a model that is trained,', () => {
  const [H, V, F] = [4, 10, 6];
  const sizes = {
    hiddenSize: H,
    vocabSize: V,
    intermediateSize: F,
    headDim: 2,
    numAttentionHeads: 2,
    numKeyValueHeads: 1,
  };
  const config = { ...gemma2_2b, ...sizes, numHiddenLayers: 3 };
  const weight = (name: string, shape: readonly number[], trainable: boolean): Weight => ({
    ...{ name, shape, trainable, accumulate() {} },
    value: () => ({ shape, clone: () => weight(name, shape, trainable).value(), dispose() {}, data: async () => [] }),
  });
  const model = modelOfShapes(config, weight);
  const layer = 2 * (4 * H) + 2 * (2 * H) + 3 * F * H + 4 * H; // q and o, k and v, the MLP, norms
  const all = V * H + 3 * layer + H;

  test('gradients are held of all weights, or of the embedding and one or two layers', () => {
    expect(gradientBytes(model, { gradients: 'all' })).toBe(4 * all);
    expect(gradientBytes(model, { gradients: 'one block' })).toBe(4 * (V * H + layer));
    expect(gradientBytes(model, { gradients: 'two blocks' })).toBe(4 * (V * H + 2 * layer));
  });

  test('activations are kept in half of what gradients, the optimizer’s state and mapped files leave of the memory', () => {
    const { stateBytes } = adamW(); // 8 bytes
    const budget = (available: number, mapped: number, more = {}) =>
      activationBudget(model, { available, mapped, stateBytes, gradients: 'all', ...more });
    expect(budget(100_000, 0)).toBe(50_000 - 6 * all);
    expect(budget(100_000, 6000)).toBe(47_000 - 6 * all);
    expect(budget(12 * all, 1)).toBe(0);
    expect(budget(100_000, 0, { stateBytes: () => 0 })).toBe(50_000 - 2 * all);
    expect(budget(100_000, 0, { gradients: 'one block' })).toBe(50_000 - 4 * all - 2 * (V * H + layer));
  });
});

test('the largest pass is that of the longest pairs', () => {
  const pair = (prompt: number, chosen: number, rejected: number) => ({
    id: '',
    prompt: new Int32Array(prompt),
    chosen: new Int32Array(chosen),
    rejected: new Int32Array(rejected),
  });
  const pairs = [pair(1, 2, 3), pair(10, 20, 30), pair(7, 1, 2)];
  expect(largestPass(pairs)).toEqual({ tokens: 60, answerTokens: 50 });
  expect(largestPass([])).toEqual({ tokens: 0, answerTokens: 0 });
});
