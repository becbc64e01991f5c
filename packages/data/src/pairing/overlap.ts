/** The words of a text for comparing: runs of letters and digits, in lower case. */
const wordsOf = (text: string): string[] => text.toLowerCase().match(/[\p{L}\p{M}\p{N}]+/gu) ?? [];

/** Fewest words by which two texts overlap, but for texts that are equal: GPT-3's least n. */
const FEWEST = 8;

/**
 * Texts of an evaluation, to be found in other texts by n-grams of words: case, punctuation and space do not count. A
 * text shorter than n words is found whole, where it has at least 8; a shorter one only as the whole of another text.
 * After GPT-3's analysis of contamination, which took n from 8 to 13, and the whole of texts shorter than that
 * (https://arxiv.org/abs/2005.14165, section 4 and appendix C).
 */
export class OverlapIndex {
  private readonly words = new Map<string, number>();
  /** A tree of n-grams: from a node by a word to the next node; the root is 0. The key is node · words + word. */
  private readonly edges = new Map<number, number>();
  /** Which text a node ends an n-gram of: the first. */
  private readonly ends = new Map<number, number>();
  private readonly short = new Map<string, number>();

  /** @param n words that have to agree, 1 or more; 13 is GPT-3's */
  constructor(
    texts: readonly string[],
    readonly n = 13,
  ) {
    if (!Number.isSafeInteger(n) || n < 1) throw new RangeError(`found n ${n}, wanted an integer, 1 or more.`);
    const lists = texts.map(wordsOf);
    for (const word of lists.flat()) if (!this.words.has(word)) this.words.set(word, this.words.size);
    for (const [text, words] of lists.entries()) this.enter(words, text);
  }

  /** The number of the first text that an n-gram of `text` is from; undefined where there is none. */
  find(text: string): number | undefined {
    const words = wordsOf(text);
    const equal = this.short.get(words.join(' '));
    if (equal !== undefined) return equal;
    const ids = words.map((word) => this.words.get(word) ?? -1);
    for (let start = 0; start < ids.length; start++) {
      const found = this.walk(ids, start);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  private enter(words: readonly string[], text: number): void {
    if (words.length === 0) return;
    if (words.length < Math.min(this.n, FEWEST)) {
      const key = words.join(' ');
      if (!this.short.has(key)) this.short.set(key, text);
      return;
    }
    const length = Math.min(this.n, words.length);
    for (let start = 0; start + length <= words.length; start++) this.grow(words.slice(start, start + length), text);
  }

  private grow(gram: readonly string[], text: number): void {
    let node = 0;
    for (const word of gram) {
      const key = node * this.words.size + this.words.get(word)!;
      node = this.edges.get(key) ?? this.edges.size + 1;
      this.edges.set(key, node);
    }
    if (!this.ends.has(node)) this.ends.set(node, text);
  }

  /** The text whose n-gram begins at `start`. */
  private walk(ids: readonly number[], start: number): number | undefined {
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
