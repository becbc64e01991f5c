/** A template that does too much work, or nests too deeply. No template can catch it. */
export class LimitError extends Error {
  override readonly name = 'LimitError';
}

/** What a template may do for an empty conversation: about a second of work and 200 MB of memory. */
const BASE = 2 ** 26;
/** What it may do in addition for each character of the conversation. */
const PER_CHARACTER = 256;
const MAX_DEPTH = 600;
/** V8 throws on a text of 2^29 characters, and ends the process on some arrays of that size. */
const MAX_LENGTH = 2 ** 27;

/**
 * Limits a rendering. Every step of the interpreter spends from the budget before it works: one unit for each character
 * that an operation reads or makes, and more for a value, which takes more memory.
 */
export class Budget {
  private left: number;
  private depth = 0;

  constructor(conversationLength: number) {
    this.left = BASE + PER_CHARACTER * conversationLength;
  }

  /** @throws {LimitError} if the budget is used up */
  spend(units: number): void {
    this.left -= units;
    if (this.left >= 0) return;
    throw new LimitError('it loops too often or repeats text too often');
  }

  step(): void {
    this.spend(8);
  }

  /** Spends on making a list of `count` values. */
  values(count: number): void {
    this.length(count);
    this.spend(4 * count);
  }

  /** Spends on reading or making a text of `length` characters. */
  characters(length: number): void {
    this.length(length);
    this.spend(length);
  }

  /** Spends on searching `pattern` in `text`: in the worst case V8 compares the whole pattern at every place. */
  search(text: string, pattern: string): void {
    this.characters(text.length);
    this.spend((text.length * Math.min(pattern.length, text.length)) / 64);
  }

  /** Spends on joining two texts to one of `length` characters: V8 does not copy them. */
  concatenation(length: number): void {
    this.length(length);
    this.spend(8 + length / 64);
  }

  /** Runs `body` one level deeper. @throws {LimitError} if the template is nested too deeply */
  nested<T>(body: () => T): T {
    if (this.depth === MAX_DEPTH) throw new LimitError('its blocks, values or macros are nested too deeply');
    this.depth += 1;
    try {
      return body();
    } finally {
      this.depth -= 1;
    }
  }

  private length(length: number): void {
    if (!(length <= MAX_LENGTH)) throw new LimitError(`it makes a text or list of ${length} characters or values`);
  }
}
