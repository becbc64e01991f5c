import '@wpo/tensorflow';
import { copyFileSync, mkdirSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Gemma2Config, gemma2_2b, gemma2_27b, tensorShapes, writeConfig } from '@wpo/gemma';
import { weightStorage } from '@wpo/tensorflow/kernels';
import { afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { activationBudget, checkMemory, largestPass, warnOfMappedWeights } from '../src/memory';
import { modelFolder, pairsFile, temporaryFolder } from './golden';
import { capture, wpo } from './wpo';

afterEach(() => {
  vi.unstubAllEnvs();
});

/** A model's folder whose weights are a hole in a file: they have their size and take no disk space. */
function sparseModel(config: Gemma2Config): string {
  const folder = join(temporaryFolder(), 'model');
  mkdirSync(folder);
  writeFileSync(join(folder, 'config.json'), writeConfig(config, { dtype: 'BF16' }));
  for (const name of ['tokenizer.json', 'tokenizer_config.json', 'chat_template.jinja'])
    copyFileSync(join(modelFolder, name), join(folder, name));
  let end = 0;
  const entries = [...tensorShapes(config)].map(([name, shape]) => {
    const start = end;
    end += 2 * shape.reduce((size, n) => size * n, 1);
    return [name, { dtype: 'BF16', shape, data_offsets: [start, end] }] as const;
  });
  const json = JSON.stringify(Object.fromEntries(entries));
  const header = Buffer.from(json.padEnd(8 * Math.ceil(json.length / 8)));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  const file = join(folder, 'model.safetensors');
  writeFileSync(file, Buffer.concat([length, header]));
  truncateSync(file, 8 + header.length + end);
  return folder;
}

describe('a model that no machine has room for is refused before its weights are read, by', () => {
  let folder: string;
  let huge: string;
  beforeAll(() => {
    huge = sparseModel({ ...gemma2_27b, numHiddenLayers: 1000, layerTypes: Array(1000).fill('full_attention') });
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
    ['train', () => ['train', join(folder, 'run.yaml'), '--set', `model_name_or_path=${huge}`]],
    [
      'train, reference',
      () => ['train', join(folder, 'run.yaml'), '--set', `ref_model_name_or_path=${huge}`, '--set', 'dtype=float32'],
    ],
    [
      'train, reference in memory',
      () => [
        ...['train', join(folder, 'run.yaml'), '--set', `ref_model_name_or_path=${huge}`, '--set', 'dtype=float32'],
        ...['--set', 'precompute_ref_log_probs=false'],
      ],
    ],
  ])('%s', async (_, args) => {
    const { status, err } = await wpo(...args());
    expect(err).toContain('567.43 billion parameters in float32 takes weights 2269.7 GB');
    expect(err).toMatch(/expected \d{4,5}\.\d GB of free memory, found \d+\.\d+ GB \(/);
    expect(err).not.toMatch(/^ +at /m);
    expect(status).toBe(1);
  });
});

describe('the message of checkMemory', () => {
  const GB = 1e9;
  const score = { kind: 'score', tokens: 100, answerTokens: 50 } as const;
  const train = { kind: 'train', tokens: 100, answerTokens: 50 } as const;
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
    await expect(check([{ folder, use: train }], { bytes: 25 * GB, limit: 'machine' })).rejects.toThrow(
      `${folder}: training 2.61 billion parameters in float32 takes weights 10.5 GB, gradients and the optimizer's state 31.4 GB, largest ` +
        'pass 2.4 GB: expected 44.2 GB of free memory, found 25.0 GB (of this machine). Train an adapter instead of ' +
        'all weights (use_peft: true), use a smaller model, or a machine with more memory. WPO_MEMORY_CHECK=0 starts anyway.',
    );
    await expect(check([{ folder, use: score }], { bytes: 5 * GB, limit: 'machine' })).rejects.toThrow(
      'No option makes this model fit: use a smaller one, or a machine with more memory.',
    );
  });

  test('counts the parameters of an adapter, of which alone there are gradients', async () => {
    const adapter = { settings: { r: 16, targetModules: 'all-linear' }, seed: 0 };
    await expect(check([{ folder, use: train, adapter }], { bytes: 5 * GB, limit: 'machine' })).rejects.toThrow(
      `${folder}: training an adapter of 20.8 million parameters on 2.61 billion parameters in float32 takes weights 10.5 GB, ` +
        "gradients and the optimizer's state 0.25 GB, largest pass",
    );
  });

  test('names the options that make a pass smaller, where the weights fit', async () => {
    const long = { kind: 'train', tokens: 50_000, answerTokens: 20_000 } as const;
    await expect(check([{ folder, use: long }], { bytes: 45 * GB, limit: 'container' })).rejects.toThrow(
      /found 45\.0 GB \(under the memory limit of this container\)\. Lower max_length, .* or raise the memory limit of the container\./,
    );
    const answers = { kind: 'generate', answers: 8, promptTokens: 20, maxNewTokens: 100_000 } as const;
    await expect(check([{ folder, use: answers }], { bytes: 45 * GB, limit: 'ulimit -v' })).rejects.toThrow(
      /keys and values of 8 x 100020 tokens 170\.4 GB.* Lower the number of new tokens .*, or raise `ulimit -v`\./,
    );
  });

  test('adds up models that are in memory together', async () => {
    const models = [
      { folder, use: score },
      { folder, use: train },
    ];
    await expect(check(models, { bytes: 50 * GB, limit: 'GPU' })).rejects.toThrow(
      /running 2\.61 billion .*; .*training 2\.61 billion .*: expected 54\.7 GB of free memory, found 50\.0 GB \(of the GPU\)/,
    );
    expect(await check(models, { bytes: 60 * GB, limit: 'GPU' })).toBe('');
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

  test('counts no gradients for the weights under an adapter', async () => {
    const adapter = { settings: { r: 16 }, seed: 1 };
    const available = { bytes: GB, limit: 'machine' } as const;
    expect(await check([{ folder, use: train, adapter }], available, 'auto')).toBe('');
    await expect(check([{ folder, use: train, adapter }], available)).rejects.toThrow(
      /training an adapter of .* on 2\.61 billion parameters in float32 takes weights 10\.5 GB/,
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
    expect(await check([{ folder, use: train }], small, 'auto', warn)).toBe('');
  });

  test('is a warning if WPO_MEMORY_CHECK is 0; nothing is checked if the memory is not known', async () => {
    expect(await check([{ folder, use: train }], undefined)).toBe('');
    vi.stubEnv('WPO_MEMORY_CHECK', '0');
    expect(await check([{ folder, use: train }], { bytes: GB, limit: 'machine' })).toMatch(
      /found 1\.0 GB \(of this machine\)\. Continuing, because WPO_MEMORY_CHECK is 0\.\n$/,
    );
  });
});

test('activations are kept in half of what gradients, moments and mapped files leave of the memory', () => {
  const trained = [
    { name: 'a', shape: [10, 20] },
    { name: 'b', shape: [50] },
  ]; // 3 · 4 · 250 bytes more
  expect(activationBudget(trained, { available: 10_000, mapped: 0 })).toBe(3500);
  expect(activationBudget(trained, { available: 10_000, mapped: 6000 })).toBe(500);
  expect(activationBudget(trained, { available: 10_000, mapped: 9000 })).toBe(0);
  expect(activationBudget(trained, { available: 10_000, mapped: 0, stateBytes: () => 0 })).toBe(4500);
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
  expect(largestPass(pairs, { batchSize: 2 })).toEqual({ tokens: 70, answerTokens: 53 });
  expect(largestPass(pairs, { batchSize: 9 })).toEqual({ tokens: 76, answerTokens: 58 });
  expect(largestPass(pairs, { maxTokens: 72 })).toEqual({ tokens: 70, answerTokens: 53 });
  expect(largestPass(pairs, { maxTokens: 5 })).toEqual({ tokens: 60, answerTokens: 50 });
  expect(largestPass([])).toEqual({ tokens: 0, answerTokens: 0 });
});
