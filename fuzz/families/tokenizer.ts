import { readFileSync } from 'node:fs';
import { loadTokenizer } from '@wpo/data';
import fc from 'fast-check';
import { expectPlainError, type Family, mutatedJson } from '../family';

/** Parts of tokenizer.json besides the vocabulary; the vocabulary of the edited files is small, so that edits hit every part. */
const PARTS = {
  truncation: null,
  padding: null,
  added_tokens: [
    { id: 0, content: '<pad>', special: true, normalized: false },
    { id: 1, content: '<eos>', special: true, normalized: false },
    { id: 2, content: '<bos>', special: true, normalized: false },
  ],
  decoder: {
    type: 'Sequence',
    decoders: [{ type: 'Replace', pattern: { String: '▁' }, content: ' ' }, { type: 'ByteFallback' }, { type: 'Fuse' }],
  },
};
const bos = { SpecialToken: { id: '<bos>', type_id: 0 } };
// biome-ignore format: one table
const BPE = {
  ...PARTS,
  normalizer: { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
  pre_tokenizer: null,
  post_processor: { type: 'TemplateProcessing', single: [bos, { Sequence: { id: 'A', type_id: 0 } }], pair: [{ Sequence: { id: 'A', type_id: 0 } }, { Sequence: { id: 'B', type_id: 1 } }], special_tokens: { '<bos>': { id: '<bos>', ids: [2], tokens: ['<bos>'] } } },
  model: {
    type: 'BPE', unk_token: '<unk>', byte_fallback: true, fuse_unk: true,
    vocab: Object.fromEntries(['<pad>', '<eos>', '<bos>', '<unk>', '<0x41>', '▁', 'a', 'b', 'c', 'ab', 'abc', '▁a', '▁ab'].map((token, id) => [token, id])),
    merges: [['a', 'b'], ['ab', 'c'], ['▁', 'a'], ['▁', 'ab']],
  },
};
const WORDS = {
  ...PARTS,
  normalizer: {
    type: 'Sequence',
    normalizers: [{ type: 'NFC' }, { type: 'Strip', strip_left: true, strip_right: true }, { type: 'Lowercase' }],
  },
  pre_tokenizer: {
    type: 'Sequence',
    pretokenizers: [
      { type: 'Split', pattern: { Regex: '\\s+' }, behavior: 'Removed', invert: false },
      { type: 'FixedLength', length: 4 },
    ],
  },
  post_processor: { type: 'BertProcessing', sep: ['<eos>', 1], cls: ['<bos>', 2] },
  decoder: { type: 'WordPiece', prefix: '##', cleanup: false },
  model: {
    type: 'WordPiece',
    unk_token: '<unk>',
    continuing_subword_prefix: '##',
    max_input_chars_per_word: 100,
    vocab: { '<pad>': 0, '<eos>': 1, '<bos>': 2, '<unk>': 3, a: 4, ab: 5, '##c': 6 },
  },
};
const UNIGRAM = {
  ...PARTS,
  normalizer: null,
  pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', split: false },
  post_processor: null,
  model: {
    type: 'Unigram',
    unk_id: 3,
    byte_fallback: false,
    vocab: [
      ['<pad>', 0],
      ['<eos>', 0],
      ['<bos>', 0],
      ['<unk>', -10],
      ['▁', -2],
      ['a', -3],
      ['ab', -2.5],
      ['c', -4],
    ],
  },
};
const CONFIG = {
  bos_token: '<bos>',
  eos_token: { content: '<eos>', special: true },
  pad_token: '<pad>',
  clean_up_tokenization_spaces: false,
  additional_special_tokens: ['<bos>'],
};
const tiny = JSON.parse(
  readFileSync(new URL('../packages/data/test/fixtures/tiny/tokenizer.json', `file://${process.cwd()}/fuzz/`), 'utf8'),
) as object;

const TEXTS = ['abc ab  c', ' A', '', '<bos>ab<eos>', 'é💥\n', 'ab'.repeat(50)];

/** A tokenizer is refused with a plain error, or every id that it gives is an integer below its `vocabSize`. */
export const family: Family<unknown> = {
  name: 'tokenizer',
  input: fc.oneof(
    {
      weight: 30,
      arbitrary: mutatedJson(
        [BPE, WORDS, UNIGRAM].map((tokenizerJson) => ({ tokenizerJson, tokenizerConfig: CONFIG })),
      ),
    },
    { weight: 1, arbitrary: mutatedJson([{ tokenizerJson: tiny, tokenizerConfig: CONFIG }]) },
  ),
  check(input, { count }) {
    try {
      const { tokenizerJson, tokenizerConfig } = Object(input) as { tokenizerJson: unknown; tokenizerConfig: unknown };
      const tokenizer = loadTokenizer({ tokenizerJson, tokenizerConfig });
      for (const text of TEXTS) {
        for (const addSpecialTokens of [false, true]) {
          const ids = tokenizer.encode(text, { addSpecialTokens });
          const wrong = ids.find((id) => !(Number.isInteger(id) && id >= 0 && id < tokenizer.vocabSize));
          if (wrong !== undefined) throw new RangeError(`the id ${String(wrong)} came out`);
          tokenizer.decode(ids);
        }
      }
      const special = [tokenizer.bosTokenId, tokenizer.eosTokenId, tokenizer.padTokenId];
      if (special.some((id) => id !== undefined && !(Number.isInteger(id) && id < tokenizer.vocabSize))) {
        throw new RangeError('a special token has no id of the vocabulary');
      }
    } catch (error) {
      if (error instanceof RangeError) throw error;
      expectPlainError(error);
      count('refused');
      return;
    }
    count('loaded');
  },
};
