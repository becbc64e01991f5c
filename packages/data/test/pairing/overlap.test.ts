import { fc, test } from '@fast-check/vitest';
import { describe, expect, it } from 'vitest';
import { evaluationText, OverlapIndex } from '../../src/pairing/index';

/** `w1 w2 … wn` */
const words = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => `w${from + i}`).join(' ');

describe('OverlapIndex', () => {
  it('finds n consecutive words at any position, but no fewer', () => {
    const index = new OverlapIndex([words(1, 20)]);
    expect(index.find(`so: ${words(5, 17)} and more`)).toBe(0);
    expect(index.find(`so: ${words(5, 16)} and more`)).toBeUndefined();
    expect(index.find(`${words(1, 12)} other ${words(13, 20)}`)).toBeUndefined();
  });

  it('ignores case, punctuation and whitespace', () => {
    const index = new OverlapIndex(['Name a river, a lake\nand a sea!'], 8);
    expect(index.find('“NAME A RIVER  — a lake, and a sea”')).toBe(0);
  });

  it('finds a text of fewer than n words as a whole inside another', () => {
    const index = new OverlapIndex([words(1, 9)]);
    expect(index.find(`so: ${words(1, 9)} and more`)).toBe(0);
    expect(index.find(`so: ${words(1, 8)} and more`)).toBeUndefined();
  });

  it('finds a text of fewer than 8 words only if it equals the other', () => {
    const index = new OverlapIndex(['Who are you?']);
    expect(index.find('who are you')).toBe(0);
    expect(index.find('Tell me who are you today')).toBeUndefined();
  });

  it('returns the first of several texts', () => {
    const index = new OverlapIndex([words(1, 13), words(30, 50), `${words(1, 13)} end`]);
    expect(index.find(words(1, 14))).toBe(0);
    expect(index.find(words(33, 47))).toBe(1);
  });

  it('finds nothing in texts without words', () => {
    expect(new OverlapIndex(['…', '']).find('… ')).toBeUndefined();
    expect(new OverlapIndex([]).find('any')).toBeUndefined();
  });

  it('rejects an n below 1', () => {
    expect(() => new OverlapIndex([], 0)).toThrow('n: expected an integer of at least 1, found 0');
  });

  const texts = fc.array(fc.constantFrom('a', 'b', 'c', 'd'), { maxLength: 12 });

  test.prop([fc.array(texts, { maxLength: 4 }), texts, fc.integer({ min: 1, max: 4 })])(
    'finds the same as a search for each n-gram',
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

  it('reads AlpacaEval’s instruction, a question, and a prompt as text or as messages', () => {
    expect(evaluationText({ instruction: 'i', output: 'o' }, at)).toBe('i');
    expect(evaluationText({ question: 'q' }, at)).toBe('q');
    expect(evaluationText({ prompt: 'p' }, at)).toBe('p');
    const turns = ['a', 'b'].map((content) => ({ role: 'user', content }));
    expect(evaluationText({ prompt: turns }, at)).toBe('a\nb');
  });

  it('names the fields of a row without any of them', () => {
    expect(() => evaluationText({ text: 'x' }, at)).toThrow(
      'e.json:2: expected "instruction", "question" or "prompt", found the fields text',
    );
    expect(() => evaluationText(3, at)).toThrow('found the number 3');
  });
});
