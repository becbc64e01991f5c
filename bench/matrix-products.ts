import type { Gemma2Config } from '@wpo/gemma';

/** Matrix products of one shape, [m, k] · [k, n]. A step computes `times` of them. */
export interface Product {
  /** x · Wᵀ (`forward`), or in the backward pass dy · W (`input`) and dyᵀ · x (`weight`). */
  readonly kind: 'forward' | 'input' | 'weight';
  readonly m: number;
  readonly k: number;
  readonly n: number;
  readonly times: number;
}

export interface PairLengths {
  readonly prompt: number;
  readonly chosen: number;
  readonly rejected: number;
}

/** The products of a step. Attention's are counted separately, since mask and window decide their size. */
export interface StepProducts {
  readonly linear: readonly Product[];
  /** Floating-point operations of all products in `linear`. */
  readonly linearFlop: number;
  /** The same for attention over visible keys: scores and weighted values, and four products in the backward pass. */
  readonly attentionFlop: number;
}

/**
 * The matrix products that any step on one pair needs, each computed once: the prompt once, each query against the
 * keys it sees, and the last block's queries, its MLP and the output head only at positions that predict an answer token. Each
 * forward product has two in the backward pass. A multiply-add counts as two operations.
 */
export function stepProducts(config: Gemma2Config, lengths: PairLengths): StepProducts {
  const linear = [...linearLayers(config, lengths), outputHead(config, lengths)].flatMap(
    ({ rows: m, inFeatures: k, outFeatures: n, times }): Product[] =>
      times === 0
        ? []
        : [
            { kind: 'forward', m, k, n, times },
            { kind: 'input', m, k: n, n: k, times },
            { kind: 'weight', m: n, k: m, n: k, times },
          ],
  );
  return { linear, linearFlop: linear.reduce(addFlop, 0), attentionFlop: 3 * attentionForwardFlop(config, lengths) };
}

/** Floating-point operations of a step on one pair that trains a LoRA adapter on all linear layers. */
export interface LoraFlop {
  /** Of the products that any such step needs, each computed once. */
  readonly flop: number;
  /** Of the layers' forward pass, which activation checkpointing runs again. */
  readonly recomputedFlop: number;
}

/**
 * Counts the products of a LoRA step as `stepProducts` does. A frozen weight has no product in the backward pass but that of its
 * input's gradient. The input of the first layer's attention needs no gradient: only the frozen embedding comes before it.
 *
 * @param rank of every adapter
 */
export function loraFlop(config: Gemma2Config, lengths: PairLengths, rank: number): LoraFlop {
  const layers = linearLayers(config, lengths);
  const total = (layer: LinearLayer, count: (m: number, k: number, n: number) => number) =>
    2 * layer.times * count(layer.rows, layer.inFeatures, layer.outFeatures);
  const forward = layers.reduce((sum, one) => sum + total(one, (m, k, n) => m * k * n + m * rank * (k + n)), 0);
  // gradients of the input through the weight, of B, of A, and of what is between A and B; and of the input through A
  const backward = layers.reduce(
    (sum, one) => sum + total(one, (m, k, n) => m * k * n + m * rank * (2 * k + 2 * n)),
    0,
  );
  const unneeded = firstAttentionInputs(config, lengths).reduce(
    (sum, one) => sum + total(one, (m, k, n) => m * k * n + m * rank * k),
    0,
  );
  const head = 2 * total(outputHead(config, lengths), (m, k, n) => m * k * n);
  const attention = attentionForwardFlop(config, lengths);
  return { flop: forward + backward - unneeded + head + 3 * attention, recomputedFlop: forward + attention };
}

/** Multiplications of `rows` inputs by weights of one shape, `times` in a forward pass. */
interface LinearLayer {
  readonly rows: number;
  readonly inFeatures: number;
  readonly outFeatures: number;
  readonly times: number;
}

/** The linear layers of all blocks. */
function linearLayers(config: Gemma2Config, { prompt, chosen, rejected }: PairLengths): LinearLayer[] {
  const { hiddenSize, intermediateSize, numAttentionHeads, numKeyValueHeads, headDim, numHiddenLayers } = config;
  const tokens = prompt + chosen + rejected;
  const layer = (rows: number, inFeatures: number, outFeatures: number, times: number): LinearLayer => ({
    rows,
    inFeatures,
    outFeatures,
    times,
  });
  const onRows = (rows: number, times: number) => [
    layer(rows, hiddenSize, numAttentionHeads * headDim, times), // q
    layer(rows, numAttentionHeads * headDim, hiddenSize, times), // o
    layer(rows, hiddenSize, intermediateSize, 2 * times), // gate, up
    layer(rows, intermediateSize, hiddenSize, times), // down
  ];
  return [
    ...onRows(tokens, numHiddenLayers - 1),
    ...onRows(chosen + rejected, 1),
    layer(tokens, hiddenSize, numKeyValueHeads * headDim, 2 * numHiddenLayers), // k, v
  ];
}

/** q, k and v of the first block. */
function firstAttentionInputs(config: Gemma2Config, { prompt, chosen, rejected }: PairLengths): LinearLayer[] {
  const { hiddenSize: inFeatures, numAttentionHeads, numKeyValueHeads, headDim, numHiddenLayers } = config;
  const answers = chosen + rejected;
  const rows = prompt + answers;
  return [
    { rows: numHiddenLayers > 1 ? rows : answers, inFeatures, outFeatures: numAttentionHeads * headDim, times: 1 },
    { rows, inFeatures, outFeatures: numKeyValueHeads * headDim, times: 2 },
  ];
}

const outputHead = ({ hiddenSize, vocabSize }: Gemma2Config, { chosen, rejected }: PairLengths): LinearLayer => ({
  rows: chosen + rejected,
  inFeatures: hiddenSize,
  outFeatures: vocabSize,
  times: 1,
});

const addFlop = (total: number, { m, k, n, times }: Product) => total + 2 * m * k * n * times;

/** Scores and weighted values, over the keys that each query sees. */
function attentionForwardFlop(config: Gemma2Config, { prompt, chosen, rejected }: PairLengths): number {
  const { numAttentionHeads, headDim, numHiddenLayers, slidingWindow } = config;
  const last = numHiddenLayers - 1;
  const visibleTotal = config.layerTypes.reduce((total, type, layer) => {
    const window = type === 'full_attention' ? Number.POSITIVE_INFINITY : slidingWindow;
    const visible = (position: number, count: number) => visibleKeys(position, count, window);
    const first = layer < last ? prompt : prompt - 1; // the last block starts at the prompt's last token
    const answers = visible(first, chosen) + visible(first, rejected);
    return total + answers + (layer < last ? visible(0, prompt) : 0);
  }, 0);
  return 2 * 2 * numAttentionHeads * headDim * visibleTotal;
}

/** Σ min(position + 1, window) over `count` positions from `first` on. */
function visibleKeys(first: number, count: number, window: number): number {
  let total = 0;
  for (let position = first; position < first + count; position++) total += Math.min(position + 1, window);
  return total;
}
