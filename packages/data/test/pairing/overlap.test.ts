import { fc, test } from '@fast-check/vitest';
import { describe, expect, it } from 'vitest';
import { evaluationText, OverlapIndex } from '../../src/pairing/index';

/** `w1 w2 … wn` */
const words = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => `w${from + i}`).join(' ');

describe('OverlapIndex', () => {
  it('finds n words in a row, wherever they stand, and no fewer', () => {
    const index = new OverlapIndex([words(1, 20)]);
    expect(index.find(`so: ${words(5, 17)} and more`)).toBe(0);
    expect(index.find(`so: ${words(5, 16)} and more`)).toBeUndefined();
    expect(index.find(`${words(1, 12)} other ${words(13, 20)}`)).toBeUndefined();
  });

  it('passes over case, punctuation and space', () => {
    const index = new OverlapIndex(['Name a river, a lake\nand a sea!'], 8);
    expect(index.find('“NAME A RIVER  — a lake, and a sea”')).toBe(0);
  });

  it('finds a text of fewer than n words whole, inside another', () => {
    const index = new OverlapIndex([words(1, 9)]);
    expect(index.find(`so: ${words(1, 9)} and more`)).toBe(0);
    expect(index.find(`so: ${words(1, 8)} and more`)).toBeUndefined();
  });

  it('finds a text of fewer than 8 words only where it is all there is', () => {
    const index = new OverlapIndex(['Who are you?']);
    expect(index.find('who are you')).toBe(0);
    expect(index.find('Tell me who are you today')).toBeUndefined();
  });

  it('gives the first of several texts', () => {
    const index = new OverlapIndex([words(1, 13), words(30, 50), `${words(1, 13)} end`]);
    expect(index.find(words(1, 14))).toBe(0);
    expect(index.find(words(33, 47))).toBe(1);
  });

  it('finds nothing in, and by, texts without words', () => {
    expect(new OverlapIndex(['…', '']).find('… ')).toBeUndefined();
    expect(new OverlapIndex([]).find('any')).toBeUndefined();
  });

  it('refuses an n that is none', () => {
    expect(() => new OverlapIndex([], 0)).toThrow('found n 0');
  });

  const texts = fc.array(fc.constantFrom('a', 'b', 'c', 'd'), { maxLength: 12 });

  test.prop([fc.array(texts, { maxLength: 4 }), texts, fc.integer({ min: 1, max: 4 })])(
    'finds what a search for each n-gram finds',
    (evaluation, text, n) => {
      const joined = ` ${text.join(' ')} `;
      const grams = (list: readonly string[]) =>
        list.length < n ? [] : list.slice(n - 1).map((_, i) => ` ${list.slice(i, i + n).join(' ')} `);
      const overlaps = evaluation.some(
        (list) => grams(list).some((gram) => joined.includes(gram)) || (list.length > 0 && list.join() === text.join()),
      );
      const index = new OverlapIndex(
        evaluation.map((list) => list.join(' ')),
        n,
      );
      expect(index.find(text.join(' ')) !== undefined).toBe(overlaps);
    },
  );
});

describe('evaluationText', () => {
  const at = { file: 'e.json', line: 2 };

  it('reads AlpacaEval’s instruction, a question, and a prompt as text or as turns', () => {
    expect(evaluationText({ instruction: 'i', output: 'o' }, at)).toBe('i');
    expect(evaluationText({ question: 'q' }, at)).toBe('q');
    expect(evaluationText({ prompt: 'p' }, at)).toBe('p');
    const turns = ['a', 'b'].map((content) => ({ role: 'user', content }));
    expect(evaluationText({ prompt: turns }, at)).toBe('a\nb');
  });

  it('says what a row has that is none', () => {
    expect(() => evaluationText({ text: 'x' }, at)).toThrow('e.json:2: found the fields text, wanted "instruction"');
    expect(() => evaluationText(3, at)).toThrow('found the number 3');
  });
});
