import { fc, test } from '@fast-check/vitest';
import { describe, expect, it } from 'vitest';
import { type Candidate, choosePair } from '../../src/pairing/index';

/** Answers by score and length; each is a text of its own. */
const answers = (...list: [score: number, length: number][]): Candidate[] =>
  list.map(([score, length], text) => ({ score, length, text }));
const texts = (chosen: ReturnType<typeof choosePair<Candidate>>) =>
  typeof chosen === 'string' ? chosen : [chosen.chosen.text, chosen.rejected.text];

describe('max-min', () => {
  it('takes the highest score against the lowest', () => {
    expect(texts(choosePair(answers([3, 10], [9, 10], [1, 10], [5, 10])))).toEqual([1, 2]);
  });

  it('gives a tie at the top to the shortest answer', () => {
    expect(texts(choosePair(answers([9, 30], [9, 10], [9, 20], [1, 10])))).toEqual([1, 3]);
  });

  it('gives a tie at the bottom to the answer closest in length to the chosen', () => {
    expect(texts(choosePair(answers([9, 100], [1, 10], [1, 130], [1, 60])))).toEqual([0, 2]);
  });

  it('gives two that are equally close to the shorter', () => {
    expect(texts(choosePair(answers([9, 100], [1, 120], [1, 80])))).toEqual([0, 2]);
  });
});

describe('margin', () => {
  it('rejects the highest of those that are far enough below', () => {
    expect(texts(choosePair(answers([9, 1], [8, 1], [7, 1], [1, 1]), { strategy: 'margin', minMargin: 2 }))).toEqual([
      0, 2,
    ]);
  });
});

describe('max-random', () => {
  it('rejects any that scores lower and far enough, each as often as the others', () => {
    const list = answers([9, 1], [9, 2], [8, 1], [5, 1], [2, 1]);
    const drawn = Array.from({ length: 8 }, (_, draw) =>
      texts(choosePair(list, { strategy: 'max-random', minMargin: 2, random: () => draw })),
    );
    expect(drawn).toEqual([3, 4, 3, 4, 3, 4, 3, 4].map((rejected) => [0, rejected]));
  });

  it('asks for its draws', () => {
    expect(() => choosePair(answers([2, 1], [1, 1]), { strategy: 'max-random' })).toThrow('wants "random"');
  });
});

it('says why there is no pair', () => {
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
  'chooses the same pair whatever the order of the answers, the chosen above the rejected by the margin',
  (list, strategy, minMargin, draw, turn) => {
    const all = answers(...list);
    const turned = [...all.slice(turn % (all.length + 1)), ...all.slice(0, turn % (all.length + 1))].reverse();
    const choose = (list: Candidate[]) => {
      let next = draw; // counts up, as a draw may be turned down for another
      return choosePair(list, { strategy, minMargin, random: () => next++ });
    };
    const found = choose(all);
    expect(texts(choose(turned))).toEqual(texts(found));
    if (typeof found === 'string') return;
    expect(found.chosen.score).toBe(Math.max(...all.map(({ score }) => score)));
    expect(found.chosen.score - found.rejected.score).toBeGreaterThanOrEqual(Math.max(1, minMargin));
  },
);
