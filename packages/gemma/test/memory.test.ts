import { expect, test } from 'vitest';
import { gemma2_2b } from '../src/config';
import { estimateMemory } from '../src/memory';

// Gemma 2 report (arXiv 2408.00118), table 2: embedding and other parameters; the final norm is in both tables' sum
const parameters2b = 589_824_000 + 2_024_517_888;

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

test('scoring takes the weights and one layer, or a part of the logits', () => {
  const need = estimateMemory(gemma2_2b, { kind: 'score', tokens: 100, answerTokens: 90 });
  expect(need).toMatchObject({ parameters: parameters2b, weights: 4 * parameters2b, cache: 0 });
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
