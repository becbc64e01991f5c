import type { Gemma2Config } from '@wpo/gemma';

// P prompt tokens, C and R tokens of the two answers, T = P + C + R, A = C + R.

/** Matrix products of one shape: [m, k] · [k, n], `batch` of them at once, `times` a step. */
export interface Product {
  /** Which way round: x · Wᵀ on the way there, dy · W and dyᵀ · x on the way back. */
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

/** Products of a step, those of attention apart, for they are cut by what mask and window allow. */
export interface StepProducts {
  readonly linear: readonly Product[];
  /** Floating-point operations of all products in `linear`. */
  readonly linearFlop: number;
  /** Those of attention: scores and their use, and four products on the way back, of visible keys alone. */
  readonly attentionFlop: number;
}

/**
 * The matrix products that a step on one pair cannot do without, nothing computed twice: the prompt once, each query
 * against the keys that it may see, the last block's queries and MLP and the output head on the rows that predict an
 * answer's token, and for each product there two on the way back. A multiply-add is two operations.
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
  const read = chosen + rejected;
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
    ...onRows(read, 1),
    ...each(tokens, H, numKeyValueHeads * headDim, 2 * numHiddenLayers), // k, v
    ...each(read, H, vocabSize, 1), // output head
  ];
  const visible = config.layerTypes.reduce((total, type, layer) => {
    const window = type === 'full_attention' ? Number.POSITIVE_INFINITY : config.slidingWindow;
    const seen = (first: number, count: number) => visibleKeys(first, count, window);
    const inAnswers = layer < inner ? prompt : prompt - 1; // position of an answer's first query
    const own = seen(inAnswers, chosen) + seen(inAnswers, rejected);
    return total + own + (layer < inner ? seen(0, prompt) : 0);
  }, 0);
  return {
    linear,
    linearFlop: linear.reduce((total, { m, k, n, times }) => total + 2 * m * k * n * times, 0),
    attentionFlop: 2 * 6 * numAttentionHeads * headDim * visible,
  };
}

/** Σ min(position + 1, window) over `count` positions from `first` on. */
function visibleKeys(first: number, count: number, window: number): number {
  let total = 0;
  for (let position = first; position < first + count; position++) total += Math.min(position + 1, window);
  return total;
}
