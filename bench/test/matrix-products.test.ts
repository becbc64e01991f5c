import { gemma2_2b, gemma2_9b } from '@wpo/gemma';
import { expect, test } from 'vitest';
import { loraFlop, stepProducts } from '../matrix-products';

const tiny = {
  ...gemma2_2b,
  hiddenSize: 3,
  intermediateSize: 5,
  numAttentionHeads: 2,
  numKeyValueHeads: 1,
  headDim: 2,
  vocabSize: 7,
  slidingWindow: 2,
  numHiddenLayers: 2,
  layerTypes: ['sliding_attention', 'full_attention'] as const,
};

test('counts the products of a step as worked out by hand', () => {
  const { linearFlop, attentionFlop } = stepProducts(tiny, { prompt: 2, chosen: 2, rejected: 1 });
  // first block, on 5 tokens: q 3·4, o 4·3, gate and up 2 · 3·5, down 5·3; last block, on 3 rows: the same
  const onRows = 12 + 12 + 30 + 15;
  // k and v of both blocks on 5 tokens: 2 blocks · 2 · 3·2; the head on 3 rows: 3·7
  const multiplyAdds = 5 * onRows + 3 * onRows + 5 * 24 + 3 * 21;
  expect(linearFlop).toBe(2 * 3 * multiplyAdds); // one product in the forward pass, two in the backward pass
  // first block, window 2: prompt 1 + 2, chosen 2 + 2, rejected 2; last block from the prompt's last token on: 2 + 3, 2
  expect(attentionFlop).toBe(2 * 6 * 4 * (3 + 4 + 2 + 5 + 2));
});

test('a model of one block computes only keys and values for the prompt', () => {
  const one = { ...tiny, numHiddenLayers: 1, layerTypes: ['full_attention'] as const };
  const { linear } = stepProducts(one, { prompt: 100, chosen: 2, rejected: 1 });
  const rows = linear.filter(({ kind }) => kind === 'forward').map(({ m, n }) => [m, n]);
  expect(rows.filter(([m]) => m === 103)).toEqual([[103, 2]]);
});

test('counts the operations of a LoRA step as worked out by hand', () => {
  const { flop, recomputedFlop } = loraFlop(tiny, { prompt: 2, chosen: 2, rejected: 1 }, 2);
  // multiply-adds of one token: the weights as above, and with rank 2 each adapter's 2 · (in + out)
  const weights = 12 + 12 + 30 + 15;
  const adapters = 2 * (7 + 7 + 2 * 8 + 8);
  const keysAndValues = [12, 2 * 2 * (3 + 2)] as const;
  const linear = (weight: number, adapter: number) =>
    5 * (weight * weights + adapter * adapters) + // first block
    3 * (weight * weights + adapter * adapters) + // last block
    2 * 5 * (weight * keysAndValues[0] + adapter * keysAndValues[1]); // k and v of both blocks
  const attention = 2 * 4 * (3 + 4 + 2 + 5 + 2); // scores and weighted values, 4 = heads · headDim
  expect(recomputedFlop).toBe(2 * (linear(1, 1) + attention));
  // q, k and v of the first block have no gradient of their input: 3·4 and 2 · 3·2, and 2·3 of each adapter
  const unneeded = 5 * (12 + 12 + 3 * 6);
  const head = 2 * 3 * 21;
  expect(flop).toBe(2 * (linear(2, 3) - unneeded + head + 3 * attention));
});

test('a LoRA step on Gemma-2 9B takes 77 TFLOP for a pair of 2,048 tokens, and 35 more where layers are recomputed', () => {
  const { flop, recomputedFlop } = loraFlop(gemma2_9b, { prompt: 512, chosen: 768, rejected: 768 }, 16);
  expect(Math.round(flop / 1e12)).toBe(77);
  expect(Math.round(recomputedFlop / 1e12)).toBe(35);
});
