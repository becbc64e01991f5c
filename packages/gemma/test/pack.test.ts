import { describe, expect, test } from 'vitest';
import { packPairs, queryBlocks, singleSequence } from '../src/pack';

describe('packPairs', () => {
  const packed = packPairs(
    [
      { id: 'a', prompt: [2, 3, 4], chosen: [5, 6], rejected: [7, 8, 9] },
      { id: 'b', prompt: [2], chosen: [3], rejected: [4] },
    ],
    10,
  );

  test('puts each prompt once, then its answers, whose positions continue the prompt', () => {
    expect([...packed.ids]).toEqual([2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4]);
    expect([...packed.positions]).toEqual([0, 1, 2, 3, 4, 3, 4, 5, 0, 1, 1]);
  });

  test('lets an answer see its prompt and itself, and nothing else', () => {
    expect(packed.segments.map(({ keyRanges }) => keyRanges)).toEqual([
      [{ start: 0, count: 3 }],
      [
        { start: 0, count: 3 },
        { start: 3, count: 2 },
      ],
      [
        { start: 0, count: 3 },
        { start: 5, count: 3 },
      ],
      [{ start: 8, count: 1 }],
      [
        { start: 8, count: 1 },
        { start: 9, count: 1 },
      ],
      [
        { start: 8, count: 1 },
        { start: 10, count: 1 },
      ],
    ]);
  });

  test('predicts each answer token from the row before it: the first one from the end of the prompt', () => {
    expect([...packed.outputRows]).toEqual([2, 3, 2, 5, 6, 8, 8]);
    expect([...packed.targets]).toEqual([5, 6, 7, 8, 9, 3, 4]);
  });
});

describe('queryBlocks', () => {
  const { segments } = singleSequence(Int32Array.from({ length: 10 }, (_, i) => i));

  test('splits a segment into blocks of about equal size, each with the keys up to its last query', () => {
    expect(queryBlocks(segments, Number.POSITIVE_INFINITY, 4)).toEqual([
      { start: 0, count: 4, keyRanges: [{ start: 0, count: 4 }], positionOffset: 0, window: Number.POSITIVE_INFINITY },
      { start: 4, count: 4, keyRanges: [{ start: 0, count: 8 }], positionOffset: 4, window: Number.POSITIVE_INFINITY },
      { start: 8, count: 2, keyRanges: [{ start: 0, count: 10 }], positionOffset: 8, window: Number.POSITIVE_INFINITY },
    ]);
  });

  test('leaves out keys before the first query’s window', () => {
    expect(queryBlocks(segments, 3, 5)[1]).toEqual({
      start: 5,
      count: 5,
      keyRanges: [{ start: 3, count: 7 }],
      positionOffset: 2,
      window: 3,
    });
  });

  test('cuts a window out of two key ranges, and joins ranges that touch', () => {
    const answer = {
      start: 5,
      count: 2,
      keyRanges: [
        { start: 0, count: 3 },
        { start: 5, count: 2 },
      ],
    };
    expect(queryBlocks([answer], 4)[0]!.keyRanges).toEqual([
      { start: 0, count: 3 },
      { start: 5, count: 2 },
    ]);
    expect(queryBlocks([answer], 2)[0]!.keyRanges).toEqual([
      { start: 2, count: 1 },
      { start: 5, count: 2 },
    ]);
    const adjacent = {
      start: 3,
      count: 2,
      keyRanges: [
        { start: 0, count: 3 },
        { start: 3, count: 2 },
      ],
    };
    expect(queryBlocks([adjacent], 9)[0]!.keyRanges).toEqual([{ start: 0, count: 5 }]);
  });
});
