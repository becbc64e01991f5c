import { fc, test } from '@fast-check/vitest';
import { BPE, Tokenizer as HubTokenizer } from '@huggingface/tokenizers';
import { expect, it } from 'vitest';
import { cutter, encodeByPieces } from '../../src/encode/bpe-pieces';
import { readJson } from '../fixtures';

const words = (merges: string) => merges.split(' ').map((pair) => pair.split('+') as [string, string]);

it('cuts between characters that no merge joins, and nowhere else', () => {
  const cut = cutter(words('▁+t h+e ▁t+he ▁+▁ d+.'));
  expect(cut('the▁the▁▁end.the')).toEqual(['the', '▁the', '▁▁', 'e', 'n', 'd.', 'the']);
  expect(cut('')).toEqual([]);
});

it('never cuts a character beyond U+FFFF in two', () => {
  expect(cutter([])('a😀😀b')).toEqual(['a', '😀', '😀', 'b']);
});

const tiny = () => {
  const json = readJson<{ model: object }>('tiny/tokenizer.json');
  return new HubTokenizer(json, readJson<object>('tiny/tokenizer_config.json'));
};
const plain = tiny();
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

test.prop([text])('gives a text the ids that it has whole', (text) => {
  expect(byPieces.encode(text).ids).toEqual(plain.encode(text).ids);
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

test.prop([tables, fc.array(letters, { maxLength: 5 })])('agrees with any table of merges', (table, texts) => {
  const whole = tokenizerOf(table);
  const pieces = tokenizerOf(table);
  encodeByPieces(pieces);
  for (const text of texts) expect(pieces.encode(text)).toEqual(whole.encode(text));
});

it.each([{ end_of_word_suffix: '</w>' }, { continuing_subword_suffix: '@@' }, { ignore_merges: true }])(
  'leaves a model alone whose words are more than their merges: %o',
  (more) => {
    const hub = tokenizerOf({ vocab: { a: 0 }, merges: [], ...more });
    encodeByPieces(hub);
    expect(hub.model!.encode).toBe(BPE.prototype.encode);
  },
);
