import { gemma2_2b } from '@wpo/gemma';
import { expect, test } from 'vitest';
import { stepProducts } from '../matrix-products';

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
