import { expect, test } from 'vitest';
import { gemma2_2b, gemma2_9b } from '../src/config';
import { estimateMemory } from '../src/memory';

// Gemma 2 report (arXiv 2408.00118), table 2: embedding and other parameters; the final norm is in both tables' sum
const parameters2b = 589_824_000 + 2_024_517_888;
const parameters9b = 917_504_000 + 8_324_201_984;

test('the state of the optimizer is that of each weight, or of an adapter as a whole', () => {
  const names: string[] = [];
  const use = {
    kind: 'train' as const,
    ...{ tokens: 1, answerTokens: 1 },
    stateBytes: ({ name, shape }: { name: string; shape: readonly number[] }) => names.push(`${name} ${shape}`),
  };
  const bytes = (count: number) => (count * (count + 1)) / 2; // the sum of what push returned
  expect(estimateMemory(gemma2_2b, use).training).toBe(4 * parameters2b + bytes(names.length));
  expect(names[0]).toBe('model.embed_tokens.weight 256000,2304');
  names.length = 0;
  expect(estimateMemory(gemma2_2b, use, { adapterParameters: 1000 }).training).toBe(4000 + 1);
  expect(names).toEqual(['adapter 1000']);
});

test('training takes 16 bytes per parameter and the largest pass', () => {
  const need = estimateMemory(gemma2_2b, { kind: 'train', tokens: 100, answerTokens: 50 });
  expect(need).toMatchObject({
    parameters: parameters2b,
    weights: 4 * parameters2b,
    training: 12 * parameters2b,
    cache: 0,
  });
  expect(need.pass).toBe(4 * 589_824_000); // the embedding is copied when it is saved
  expect(need.total).toBe(16 * parameters2b + need.pass);
  expect(estimateMemory(gemma2_9b, { kind: 'train', tokens: 1, answerTokens: 1 }).training).toBe(12 * parameters9b);
});

test('weights in mapped files are not counted', () => {
  const use = { kind: 'score', tokens: 100, answerTokens: 90 } as const;
  const { pass } = estimateMemory(gemma2_2b, use);
  const halves = { allocated: 2 * parameters2b, mapped: 0 };
  expect(estimateMemory(gemma2_2b, use, { held: halves })).toMatchObject({
    weights: 2 * parameters2b,
    mapped: 0,
    total: 2 * parameters2b + pass,
  });
  const file = { allocated: 0, mapped: 2 * parameters2b };
  expect(estimateMemory(gemma2_2b, use, { held: file, adapterParameters: 10 })).toMatchObject({
    weights: 40,
    mapped: 2 * parameters2b,
    total: 40 + pass,
  });
});

test('a long pass counts the inputs of all layers, and one layer', () => {
  const { pass } = estimateMemory(gemma2_2b, { kind: 'train', tokens: 10_000, answerTokens: 5000 });
  const layer = 10_000 * (6 * 2304 + (2 * 8 + 2 * 4) * 256 + 4 * 9216);
  expect(pass).toBe(4 * (26 * 10_000 * 2304 + Math.max(layer, 524 * 256_000)));
});

test('scoring takes the weights and one layer, or a part of the logits', () => {
  const need = estimateMemory(gemma2_2b, { kind: 'score', tokens: 100, answerTokens: 90 });
  expect(need).toMatchObject({ weights: 4 * parameters2b, training: 0, cache: 0 });
  expect(need.pass).toBe(4 * 65 * 256_000);
  expect(estimateMemory(gemma2_2b, { kind: 'score', tokens: 8000, answerTokens: 90 }).pass).toBe(
    4 * 8000 * (2 * 2304 + 2 * 9216),
  );
});

test('generation takes the keys and values of every token', () => {
  const need = estimateMemory(gemma2_2b, { kind: 'generate', answers: 8, promptTokens: 25, maxNewTokens: 1_000_000 });
  expect(need.cache).toBe(4 * 26 * 2 * 4 * 256 * 8 * 1_000_024);
  expect(need.pass).toBe(4 * 8 * 25 * (2 * 2304 + 2 * 9216));
  expect(need.total).toBe(need.weights + need.cache + need.pass);
});

test('with an adapter, only its parameters have gradients and moments', () => {
  const use = { kind: 'train', tokens: 100, answerTokens: 50 } as const;
  const need = estimateMemory(gemma2_2b, use, { adapterParameters: 20_766_720 });
  expect(need).toMatchObject({ parameters: parameters2b, training: 12 * 20_766_720 });
  expect(need.weights).toBe(4 * (parameters2b + 20_766_720));
  expect(need.pass).toBe(4 * (26 * 100 * 2304 + 50 * 256_000)); // no copy of the embedding is saved
});
