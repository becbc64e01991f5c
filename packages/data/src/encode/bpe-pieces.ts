import { BPE, type Tokenizer as HubTokenizer } from '@huggingface/tokenizers';

/** Pieces whose tokens are kept, and the length up to which they are: a word comes again, a whole line hardly. */
const MOST_KEPT = 2 ** 16;
const LONGEST_KEPT = 32;

/**
 * Has a byte-pair tokenizer encode text piece by piece, and remember the pieces: the same tokens, several times as fast.
 * A tokenizer that cuts no words beforehand, as Gemma's, is else given whole texts, in which nothing comes twice.
 */
export function encodeByPieces({ model }: HubTokenizer): void {
  if (!(model instanceof BPE) || !isSumOfPieces(model)) return;
  const encodeWhole = model.encode.bind(model);
  const piecesOf = cutter(model.merges);
  const known = new Map<string, readonly string[]>();
  const encodePiece = (piece: string): readonly string[] => {
    const kept = known.get(piece);
    if (kept !== undefined) return kept;
    const tokens = encodeWhole([piece]);
    if (piece.length <= LONGEST_KEPT) {
      if (known.size === MOST_KEPT) known.clear();
      known.set(piece, tokens);
    }
    return tokens;
  };
  model.encode = (words) => {
    const tokens: string[] = [];
    for (const word of words) {
      for (const piece of piecesOf(word)) for (const token of encodePiece(piece)) tokens.push(token);
    }
    return tokens;
  };
}

/** Whether nothing but merges decides on a word's tokens: no suffix marks its end, and it is not looked up whole. */
const isSumOfPieces = ({ end_of_word_suffix, continuing_subword_suffix, ignore_merges }: BPE) =>
  !end_of_word_suffix && !continuing_subword_suffix && !ignore_merges;

/** log2 of the filter's size: 4 MB, of which Gemma's merges set less than one bit in a hundred. */
const FILTER_BITS = 25;

/**
 * Gives a function that cuts text wherever no merge can join what is on both sides. A token that spans a border was
 * joined there by a merge whose left part ends in the character before the border and whose right part begins with the
 * one after it: where `merges` have no such pair, both sides are encoded as they would be alone. The pairs are held in
 * a Bloom filter, which may take a border for one that is joined: then a piece is longer, and its tokens are the same.
 */
export function cutter(merges: readonly (readonly [string, string])[]): (text: string) => string[] {
  const joined = new Uint8Array(2 ** (FILTER_BITS - 3));
  const slot = (before: number, after: number) => Math.imul((before << 16) | after, 0x9e3779b1) >>> (32 - FILTER_BITS);
  for (const [left, right] of merges) {
    const at = slot(left.charCodeAt(left.length - 1), right.charCodeAt(0));
    joined[at >>> 3]! |= 1 << (at & 7);
  }
  return (text) => {
    const pieces: string[] = [];
    let start = 0;
    let before = text.charCodeAt(0);
    for (let i = 1; i < text.length; i++) {
      const after = text.charCodeAt(i);
      const at = slot(before, after);
      const isWithinCharacter = (after & 0xfc00) === 0xdc00; // the second half of one beyond U+FFFF
      if ((joined[at >>> 3]! & (1 << (at & 7))) === 0 && !isWithinCharacter) {
        pieces.push(text.slice(start, i));
        start = i;
      }
      before = after;
    }
    if (start < text.length) pieces.push(text.slice(start));
    return pieces;
  };
}
