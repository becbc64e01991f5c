import type { AttentionScale, AttentionSpan } from '@wpo/gemma';

// How attention's operations in C++ are told what each query may see.

/** A query a sequence, as generation has them. */
export const isSingle = (spans: readonly AttentionSpan[], queries: number) =>
  spans.length === queries && spans.every(({ row, rows, keys }, i) => row === i && rows === 1 && keys.length === 1);

/** First column and number of keys of each query. */
export const singleLayout = (spans: readonly AttentionSpan[]) =>
  spans.flatMap(({ keys, lead }) => [keys[0]!.start, lead + 1]);

/** Windows that reach as far as there is are told as 2³⁰. */
const windowOf = ({ window }: AttentionSpan) => Math.min(window, 2 ** 30);

export const spansLayout = (spans: readonly AttentionSpan[]) =>
  spans.flatMap((span) => [
    ...[span.row, span.rows, span.lead, windowOf(span), span.keys.length],
    ...span.keys.flatMap(({ start, length }) => [start, length]),
  ]);

/** What scores are multiplied by before tanh, and the cap, 0 where there is none. */
export const scaleNumbers = ({ scale, cap }: AttentionScale): [number, number] => [scale / (cap ?? 1), cap ?? 0];
