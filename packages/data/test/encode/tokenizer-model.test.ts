import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { encodePair, loadTokenizer, type Tokenizer } from '../../src/index';
import { fixture, readJson } from '../fixtures';

interface Model {
  vocab: Record<string, unknown>;
  merges: unknown[];
  [key: string]: unknown;
}
interface TokenizerJson {
  model: Model;
  added_tokens: Record<string, unknown>[];
  [key: string]: unknown;
}

function load(edit: (json: TokenizerJson, config: Record<string, unknown>) => void, embeddingRows?: number): Tokenizer {
  const tokenizerJson = readJson<TokenizerJson>('tiny/tokenizer.json');
  const tokenizerConfig = readJson<Record<string, unknown>>('tiny/tokenizer_config.json');
  edit(tokenizerJson, tokenizerConfig);
  return loadTokenizer({ tokenizerJson, tokenizerConfig, embeddingRows });
}

it.each([1e300, 4294967301, 2 ** 31, 2 ** 22, -1, 1.5, true, false, null, '7', [], Number.NaN])(
  'refuses %s as the id of a token',
  (id) => {
    expect(() => load(({ model }) => (model.vocab.the = id))).toThrow(
      /^tokenizer\.json: model\.vocab\["the"\]: expected an integer id from 0 to 4194303, found .*\. Download the file again/,
    );
    expect(() => load(({ added_tokens }) => (added_tokens[3]!.id = id))).toThrow(
      /^tokenizer\.json: added_tokens\[3\]\.id: expected an integer id from 0 to 4194303, found /,
    );
  },
);

it.each<[string, (json: TokenizerJson, config: Record<string, unknown>) => void, string]>([
  ['two tokens with one id', ({ model }) => (model.vocab.zzz = model.vocab.the), 'expected an id of its own, found'],
  [
    'an added token with the id of another',
    ({ added_tokens }) => (added_tokens[3]!.content = '<new>'),
    'added_tokens[3].id: expected an id of its own',
  ],
  [
    'an added token with another id than in the vocabulary',
    ({ added_tokens }) => (added_tokens[3]!.id = 5000),
    'added_tokens[3].id: expected 3, the id of',
  ],
  [
    'an added token without text',
    ({ added_tokens }) => (added_tokens[3]!.content = 5),
    'added_tokens[3].content: expected text, found 5',
  ],
  [
    'no added tokens',
    (json) => delete (json as Record<string, unknown>).added_tokens,
    'added_tokens: expected a list, found nothing',
  ],
  [
    'a merge of an unknown token',
    ({ model }) => (model.merges[7] = ['q', 'zebra']),
    'model.merges[7]: expected tokens of the vocabulary, found "zebra"',
  ],
  ['a merge to an unknown token', ({ model }) => (model.merges[7] = ['q', 'z']), 'found "qz", which is not in it'],
  ['a merge with nothing', ({ model }) => (model.merges[7] = ['e', '']), 'model.merges[7]: expected two tokens'],
  [
    'a merge of another form',
    ({ model }) => (model.merges[7] = 'e a'),
    'model.merges[7]: expected a list of two texts, as the first',
  ],
  [
    'a merge that is a number',
    ({ model }) => (model.merges[0] = 7),
    'model.merges[0]: expected two texts with a space between, found 7',
  ],
  ['no vocabulary', ({ model }) => (model.vocab = {}), 'model.vocab: expected at least one token, found none'],
  ['a vocabulary of another type', ({ model }) => (model.vocab = [] as never), 'model.vocab: expected a JSON object'],
  [
    'another model',
    ({ model }) => (model.type = 'WordLevel'),
    'model.type: expected "BPE", "WordPiece" or "Unigram", found "WordLevel"',
  ],
  [
    'an unknown unk_token',
    ({ model }) => (model.unk_token = '<what>'),
    'model.unk_token: expected a token of the vocabulary',
  ],
  [
    'an endless pre-tokenizer',
    (json) => (json.pre_tokenizer = { type: 'FixedLength', length: 0 }),
    'pre_tokenizer.length: expected an integer of 1 or more, found 0',
  ],
  [
    'a normalizer without its text',
    (json) => (json.normalizer = { type: 'Replace', pattern: { String: ' ' } }),
    'normalizer.content: expected text, found nothing',
  ],
  [
    'an empty pattern',
    (json) => (json.normalizer = { type: 'Replace', pattern: { String: '' }, content: 'x' }),
    'normalizer.pattern: expected {"String": text}',
  ],
  [
    'a regular expression that never ends',
    (json) =>
      (json.pre_tokenizer = { type: 'Split', pattern: { Regex: '(a+)+$' }, behavior: 'Isolated', invert: false }),
    'pre_tokenizer.pattern: expected {"String": text}, or the {"Regex": text} of a known tokenizer',
  ],
  [
    'a regular expression beside a text',
    (json) => (json.normalizer = { type: 'Replace', pattern: { String: ' ', Regex: '(a|aa)+$' }, content: 'x' }),
    'normalizer.pattern: expected {"String": text}, or the {"Regex": text} of a known tokenizer',
  ],
  [
    'an unknown part',
    (json) => (json.decoder = { type: 'constructor' }),
    'decoder.type: expected one of Sequence, ByteLevel',
  ],
  [
    'a post-processor with an unknown token',
    (json) =>
      (json.post_processor = { type: 'TemplateProcessing', single: [{ SpecialToken: { id: '<no>' } }], pair: [] }),
    'post_processor.single: expected a list of sequences and of special tokens of the vocabulary',
  ],
  [
    'parts nested without end',
    (json) => {
      for (let i = 0; i < 1000; i++) json.decoder = { type: 'Sequence', decoders: [json.decoder] };
    },
    'expected at most 16 levels, found more',
  ],
  [
    'an unknown end-of-text token',
    (_, config) => (config.eos_token = '<no>'),
    'tokenizer_config.json: eos_token: expected a token of tokenizer.json, or null, found "<no>"',
  ],
  [
    'a number as token',
    (_, config) => (config.bos_token = 2),
    'tokenizer_config.json: bos_token: expected a token of tokenizer.json, or null, found 2',
  ],
])('refuses %s', (_, edit, message) => {
  expect(() => load(edit)).toThrow(message);
});

it('compares the largest id with the rows of the embedding', () => {
  expect(load(() => {}, 1722).vocabSize).toBe(1722);
  expect(() => load(() => {}, 1721)).toThrow(
    "tokenizer.json: expected ids from 0 to 1720, the rows of the model's embedding (vocab_size in config.json), found 1721",
  );
});

it('reads merges in both forms, and ids with gaps', () => {
  const ids = load(() => {}).encode('the weather');
  expect(
    load(({ model }) => (model.merges = (model.merges as string[][]).map((m) => m.join(' ')))).encode('the weather'),
  ).toEqual(ids);
  expect(load(({ model }) => (model.vocab.zzz = 5000)).vocabSize).toBe(5001);
});

const chatTemplate = readFileSync(fixture('tiny/chat_template.jinja'), 'utf8');

it.each([4294967301, 1.5, -1, undefined, '7', null, true])(
  'refuses %s as an id from a tokenizer of the caller',
  (id) => {
    const tokenizer = {
      ...load(() => {}),
      encode: (text: string) => (text.endsWith('<end_of_turn>\n') && text.includes('b<') ? [5, id as number] : [7]),
    };
    const row = {
      id: 'r1',
      at: { file: 'x', line: 1 },
      context: [{ role: 'user', content: 'a' }],
      chosen: 'b',
      rejected: 'c',
    };
    expect(() => encodePair(row as never, { tokenizer, chatTemplate, completion: 'paper' })).toThrow(
      /^r1: expected token ids from 0 to 2147483647 from the tokenizer, found .* as token 1/,
    );
  },
);
