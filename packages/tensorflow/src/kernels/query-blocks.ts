import type { AttentionOptions, QueryBlock } from '@wpo/gemma';

// How the native attention operations take query blocks and options: as int32 and float32 lists.

/** Whether the blocks are one query each, over one key range: decoding. */
export const isDecoding = (blocks: readonly QueryBlock[], queries: number) =>
  blocks.length === queries &&
  blocks.every(({ start, count, keyRanges }, i) => start === i && count === 1 && keyRanges.length === 1);

/** For decoding: first key column and number of keys of each query. */
export const encodeDecodingBlocks = (blocks: readonly QueryBlock[]) =>
  blocks.flatMap(({ keyRanges, positionOffset }) => [keyRanges[0]!.start, positionOffset + 1]);

/** A window of 2³⁰ stands for Infinity. */
const windowOf = ({ window }: QueryBlock) => Math.min(window, 2 ** 30);

/** Each block: start, count, position offset, window, number of key ranges, then start and count of each key range. */
export const encodeQueryBlocks = (blocks: readonly QueryBlock[]) =>
  blocks.flatMap((block) => [
    ...[block.start, block.count, block.positionOffset, windowOf(block), block.keyRanges.length],
    ...block.keyRanges.flatMap(({ start, count }) => [start, count]),
  ]);

/** The factor of the scores inside tanh, and the cap; a cap of 0 stands for none. */
export const encodeAttentionOptions = ({ scale, softcap }: AttentionOptions): [number, number] => [
  scale / (softcap ?? 1),
  softcap ?? 0,
];
