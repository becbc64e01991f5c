import { fc, test } from '@fast-check/vitest';
import { describe, expect, it } from 'vitest';
import { type Candidate, choosePair } from '../../src/pairing/choose-pair';

/** Answers by score and length, with different texts. */
const answers = (...list: [score: number, length: number][]): Candidate[] =>
  list.map(([score, length], text) => ({ score, length, text }));
const texts = (chosen: ReturnType<typeof choosePair<Candidate>>) =>
  typeof chosen === 'string' ? chosen : [chosen.chosen.text, chosen.rejected.text];

describe('max-min', () => {
  it('pairs the highest score with the lowest', () => {
    expect(texts(choosePair(answers([3, 10], [9, 10], [1, 10], [5, 10])))).toEqual([1, 2]);
  });

  it('chooses the shortest of tied best answers', () => {
    expect(texts(choosePair(answers([9, 30], [9, 10], [9, 20], [1, 10])))).toEqual([1, 3]);
  });

  it('rejects, of tied worst answers, the closest in length to the chosen one', () => {
    expect(texts(choosePair(answers([9, 100], [1, 10], [1, 130], [1, 60])))).toEqual([0, 2]);
  });

  it('rejects the shorter of two that are equally close', () => {
    expect(texts(choosePair(answers([9, 100], [1, 120], [1, 80])))).toEqual([0, 2]);
  });
});

describe('margin', () => {
  it('rejects the highest of those far enough below', () => {
    expect(texts(choosePair(answers([9, 1], [8, 1], [7, 1], [1, 1]), { strategy: 'margin', minMargin: 2 }))).toEqual([
      0, 2,
    ]);
  });
});

describe('max-random', () => {
  it('rejects any answer far enough below, all equally often', () => {
    const list = answers([9, 1], [9, 2], [8, 1], [5, 1], [2, 1]);
    const drawn = Array.from({ length: 8 }, (_, draw) =>
      texts(choosePair(list, { strategy: 'max-random', minMargin: 2, random: () => draw })),
    );
    expect(drawn).toEqual([3, 4, 3, 4, 3, 4, 3, 4].map((rejected) => [0, rejected]));
  });

  it('requires a random number generator', () => {
    expect(() => choosePair(answers([2, 1], [1, 1]), { strategy: 'max-random' })).toThrow('needs the option "random"');
  });
});

it('names the reason if there is no pair', () => {
  expect(choosePair(answers([1, 1]))).toBe('tooFewAnswers');
  expect(choosePair(answers([4, 1], [4, 2]))).toBe('equalScores');
  expect(choosePair(answers([4, 1], [3, 2]), { minMargin: 2 })).toBe('smallMargin');
});

const lists = fc.array(fc.tuple(fc.integer({ min: 0, max: 5 }), fc.integer({ min: 1, max: 4 })), { maxLength: 8 });

test.prop([
  lists,
  fc.constantFrom('max-min', 'max-random', 'margin'),
  fc.integer({ min: 0, max: 3 }),
  fc.nat(),
  fc.nat(),
])(
  'chooses the same pair whatever the order of the answers, with at least the margin between the scores',
  (list, strategy, minMargin, draw, rotation) => {
    const all = answers(...list);
    const rotated = [...all.slice(rotation % (all.length + 1)), ...all.slice(0, rotation % (all.length + 1))].reverse();
    const choose = (list: Candidate[]) => {
      let next = draw; // counts up, as a draw may be rejected
      return choosePair(list, { strategy, minMargin, random: () => next++ });
    };
    const found = choose(all);
    expect(texts(choose(rotated))).toEqual(texts(found));
    if (typeof found === 'string') return;
    expect(found.chosen.score).toBe(Math.max(...all.map(({ score }) => score)));
    expect(found.chosen.score - found.rejected.score).toBeGreaterThanOrEqual(Math.max(1, minMargin));
  },
);
