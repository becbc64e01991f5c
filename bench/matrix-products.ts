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
export function stepProducts(config: Gemma2Config, { prompt, chosen, rejected }: PairLengths): StepProducts {
  const {
    hiddenSize: H,
    intermediateSize: F,
    numAttentionHeads,
    numKeyValueHeads,
    headDim,
    numHiddenLayers,
    vocabSize,
  } = config;
  const tokens = prompt + chosen + rejected;
  const answerTokens = chosen + rejected;
  const inner = numHiddenLayers - 1;
  const each = (m: number, k: number, n: number, times: number): Product[] =>
    times === 0
      ? []
      : [
          { kind: 'forward', m, k, n, times },
          { kind: 'input', m, k: n, n: k, times },
          { kind: 'weight', m: n, k: m, n: k, times },
        ];
  const onRows = (rows: number, times: number) => [
    ...each(rows, H, numAttentionHeads * headDim, times), // q
    ...each(rows, numAttentionHeads * headDim, H, times), // o
    ...each(rows, H, F, 2 * times), // gate, up
    ...each(rows, F, H, times), // down
  ];
  const linear = [
    ...onRows(tokens, inner),
    ...onRows(answerTokens, 1),
    ...each(tokens, H, numKeyValueHeads * headDim, 2 * numHiddenLayers), // k, v
    ...each(answerTokens, H, vocabSize, 1), // output head
  ];
  const visibleTotal = config.layerTypes.reduce((total, type, layer) => {
    const window = type === 'full_attention' ? Number.POSITIVE_INFINITY : config.slidingWindow;
    const visible = (position: number, count: number) => visibleKeys(position, count, window);
    const first = layer < inner ? prompt : prompt - 1; // the last block starts at the prompt's last token
    const answers = visible(first, chosen) + visible(first, rejected);
    return total + answers + (layer < inner ? visible(0, prompt) : 0);
  }, 0);
  return {
    linear,
    linearFlop: linear.reduce((total, { m, k, n, times }) => total + 2 * m * k * n * times, 0),
    attentionFlop: 2 * 6 * numAttentionHeads * headDim * visibleTotal,
  };
}

/** Σ min(position + 1, window) over `count` positions from `first` on. */
function visibleKeys(first: number, count: number, window: number): number {
  let total = 0;
  for (let position = first; position < first + count; position++) total += Math.min(position + 1, window);
  return total;
}
