import { fc, test } from '@fast-check/vitest';
import { BPE, Tokenizer as HubTokenizer } from '@huggingface/tokenizers';
import { expect, it } from 'vitest';
import { encodeByPieces, pieceSplitter } from '../../../src/encode/patches/bpe-pieces';
import { readJson } from '../../fixtures';

const words = (merges: string) => merges.split(' ').map((pair) => pair.split('+') as [string, string]);

it('splits between characters that no merge joins, and nowhere else', () => {
  const split = pieceSplitter(words('▁+t h+e ▁t+he ▁+▁ d+.'));
  expect(split('the▁the▁▁end.the')).toEqual(['the', '▁the', '▁▁', 'e', 'n', 'd.', 'the']);
  expect(split('')).toEqual([]);
});

it('never splits a surrogate pair', () => {
  expect(pieceSplitter([])('a😀😀b')).toEqual(['a', '😀', '😀', 'b']);
});

const tiny = () => {
  const json = readJson<{ model: object }>('tiny/tokenizer.json');
  return new HubTokenizer(json, readJson<object>('tiny/tokenizer_config.json'));
};
const unpatched = tiny();
const byPieces = tiny();
encodeByPieces(byPieces);

const text = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 60 }),
  fc
    .array(fc.constantFrom(' ', '  ', '\n', 'the', 'ing', 'é', '😀', '▁', '<eos>', '<', '.', '你', 'x'), {
      maxLength: 60,
    })
    .map((parts) => parts.join('')),
);

test.prop([text])('a text has the ids that it has without the patch', (text) => {
  expect(byPieces.encode(text).ids).toEqual(unpatched.encode(text).ids);
});

// tokens of a random merge table over few letters: nearly every merge is used, and many compete for a letter
const tables = fc.array(fc.tuple(fc.nat(), fc.nat()), { maxLength: 25 }).map((picks) => {
  const tokens = ['a', 'b', 'c', '▁'];
  const merges: [string, string][] = [];
  for (const [i, j] of picks) {
    const pair: [string, string] = [tokens[i % tokens.length]!, tokens[j % tokens.length]!];
    if (tokens.includes(pair.join(''))) continue;
    merges.push(pair);
    tokens.push(pair.join(''));
  }
  return { merges, vocab: Object.fromEntries(tokens.map((token, id) => [token, id])) };
});
const letters = fc.array(fc.constantFrom('a', 'b', 'c', '▁', 'z'), { maxLength: 40 }).map((all) => all.join(''));

const tokenizerOf = (model: object) =>
  new HubTokenizer(
    {
      model: { type: 'BPE', unk_token: 'a', ...model },
      added_tokens: [],
      ...{ normalizer: null, pre_tokenizer: null, post_processor: null, decoder: null },
    },
    {},
  );

test.prop([tables, fc.array(letters, { maxLength: 5 })])('the tokens are the same for any merges', (table, texts) => {
  const whole = tokenizerOf(table);
  const pieces = tokenizerOf(table);
  encodeByPieces(pieces);
  for (const text of texts) expect(pieces.encode(text)).toEqual(whole.encode(text));
});

it.each([{ end_of_word_suffix: '</w>' }, { continuing_subword_suffix: '@@' }, { ignore_merges: true }])(
  'does not patch a model in which more than merges decides: %o',
  (more) => {
    const hub = tokenizerOf({ vocab: { a: 0 }, merges: [], ...more });
    encodeByPieces(hub);
    expect(hub.model!.encode).toBe(BPE.prototype.encode);
  },
);

it('is still needed, because the package merges a text as a whole: if this fails, see patches/bpe-pieces.ts', () => {
  const bpe = unpatched.model as unknown as { bpe(word: string): string[] };
  const words: string[] = [];
  const merge = bpe.bpe;
  bpe.bpe = (word) => {
    words.push(word);
    return merge.call(bpe, word);
  };
  unpatched.encode('the cat sat on the mat, and the cat sat on the mat');
  bpe.bpe = merge;
  expect(words).toEqual(['the▁cat▁sat▁on▁the▁mat,▁and▁the▁cat▁sat▁on▁the▁mat']);
});
