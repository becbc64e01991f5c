import { describe, fail, isFields, optionalField, type RowLocation } from '../rows/fields';
import { readPrompt } from '../rows/preference-row';

/**
 * The prompt of a row of an evaluation set: `instruction` as in AlpacaEval, `question`, or `prompt` as text or messages.
 *
 * @throws {RowError} if the row has none of them
 */
export function evaluationText(value: unknown, at: RowLocation): string {
  const row = isFields(value) ? value : {};
  const text = optionalField(row, 'instruction') ?? optionalField(row, 'question');
  if (typeof text === 'string') return text;
  const messages = readPrompt(row, at);
  if (messages !== undefined) return messages.map(({ content }) => content).join('\n');
  const names = Object.keys(row).slice(0, 5).join(', ');
  return fail(at, {
    expected: '"instruction", "question" or "prompt"',
    found: !isFields(value) ? describe(value) : names === '' ? 'an object without fields' : `the fields ${names}`,
    hint: 'Give the evaluation’s prompt one of these names.',
  });
}

/** The words of a text for comparison: runs of letters and digits, in lower case. */
const wordsOf = (text: string): string[] => text.toLowerCase().match(/[\p{L}\p{M}\p{N}]+/gu) ?? [];

/** The smallest n-gram that counts as an overlap, GPT-3's smallest n. Shorter texts must be equal. */
const MIN_WORDS = 8;

/**
 * An index of evaluation texts that finds them in other texts by n-grams of words; case, punctuation and whitespace are
 * ignored. A text of fewer than n words must be contained as a whole, and one of fewer than 8 must equal the other text.
 * The method follows GPT-3's contamination analysis (https://arxiv.org/abs/2005.14165, section 4 and appendix C), which
 * used n from 8 to 13, and whole texts if they were shorter.
 */
export class OverlapIndex {
  private readonly words = new Map<string, number>();
  /** A prefix tree of n-grams; the root is node 0. The key `node * words.size + word` maps to the next node. */
  private readonly edges = new Map<number, number>();
  /** For each node at the end of an n-gram, the first text that contains the n-gram. */
  private readonly ends = new Map<number, number>();
  /** Texts of fewer than 8 words, which must equal the other text. */
  private readonly short = new Map<string, number>();

  /** @param n number of consecutive words that must agree, at least 1; 13 is GPT-3's */
  constructor(
    texts: readonly string[],
    readonly n = 13,
  ) {
    if (!Number.isSafeInteger(n) || n < 1) throw new RangeError(`n: expected an integer of at least 1, found ${n}.`);
    const lists = texts.map(wordsOf);
    for (const word of lists.flat()) if (!this.words.has(word)) this.words.set(word, this.words.size);
    for (const [text, words] of lists.entries()) this.addText(words, text);
  }

  /** Index of the first evaluation text that shares an n-gram with `text`; undefined if there is none. */
  find(text: string): number | undefined {
    const words = wordsOf(text);
    const equal = this.short.get(words.join(' '));
    if (equal !== undefined) return equal;
    const ids = words.map((word) => this.words.get(word) ?? -1);
    for (let start = 0; start < ids.length; start++) {
      const found = this.findFrom(ids, start);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  private addText(words: readonly string[], text: number): void {
    if (words.length === 0) return;
    if (words.length < Math.min(this.n, MIN_WORDS)) {
      const key = words.join(' ');
      if (!this.short.has(key)) this.short.set(key, text);
      return;
    }
    const length = Math.min(this.n, words.length);
    for (let start = 0; start + length <= words.length; start++)
      this.addNgram(words.slice(start, start + length), text);
  }

  private addNgram(words: readonly string[], text: number): void {
    let node = 0;
    for (const word of words) {
      const key = node * this.words.size + this.words.get(word)!;
      node = this.edges.get(key) ?? this.edges.size + 1;
      this.edges.set(key, node);
    }
    if (!this.ends.has(node)) this.ends.set(node, text);
  }

  /** The text whose n-gram begins at `start`. */
  private findFrom(ids: readonly number[], start: number): number | undefined {
    let node: number | undefined = 0;
    for (let i = start; i < ids.length && ids[i]! >= 0; i++) {
      node = this.edges.get(node * this.words.size + ids[i]!);
      if (node === undefined) return undefined;
      const found = this.ends.get(node);
      if (found !== undefined) return found;
    }
    return undefined;
  }
}
