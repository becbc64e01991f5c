import { beforeAll, expect, it } from 'vitest';
import { loadTokenizer, type Tokenizer } from '../../src/index';
import { loadTokenizerFolder } from '../../src/node';
import { fixture, readJson, reference } from '../fixtures';

const python = reference();
let tokenizer: Tokenizer;
beforeAll(async () => {
  ({ tokenizer } = await loadTokenizerFolder(fixture('tiny')));
});

const files = () => ({
  tokenizerJson: readJson<Record<string, unknown>>('tiny/tokenizer.json'),
  tokenizerConfig: readJson<Record<string, unknown>>('tiny/tokenizer_config.json'),
});

it('gives the ids that Python gives: byte fallback, emoji, double spaces, special tokens in the text', () => {
  expect(python.encode.length).toBeGreaterThan(190);
  expect(python.encode.map(({ text }) => ({ text, ids: tokenizer.encode(text) }))).toEqual(python.encode);
});

it('gives the text that Python gives: broken byte runs, byte-order marks, ids out of the vocabulary, none at all', () => {
  expect(python.decode.length).toBeGreaterThan(160);
  const decoded = python.decode.map(({ ids }) => ({
    ids,
    text: tokenizer.decode(ids),
    plain: tokenizer.decode(ids, { skipSpecialTokens: true }),
  }));
  expect(decoded).toEqual(python.decode);
});

it('gives back the text it was given, unless that holds U+2581, the sign for a space', () => {
  for (const { text } of python.encode) {
    expect(tokenizer.decode(tokenizer.encode(text))).toBe(text.replaceAll('\u2581', ' '));
  }
});

it('knows the special tokens and the size of the vocabulary', () => {
  expect(tokenizer).toMatchObject({
    bosToken: '<bos>',
    bosTokenId: 2,
    eosToken: '<eos>',
    eosTokenId: 1,
    padToken: '<pad>',
    padTokenId: 0,
    vocabSize: 1722,
  });
  expect(tokenizer.tokenId('<end_of_turn>')).toBe(107);
  expect(tokenizer.tokenId('no such token')).toBeUndefined();
});

it('adds no special tokens where the tokenizer would', () => {
  const { tokenizerJson, tokenizerConfig } = files();
  const single = [{ SpecialToken: { id: '<bos>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }];
  const special_tokens = { '<bos>': { id: '<bos>', ids: [2], tokens: ['<bos>'] } };
  const adding = loadTokenizer({
    tokenizerJson: {
      ...tokenizerJson,
      post_processor: { type: 'TemplateProcessing', single, pair: single, special_tokens },
    },
    tokenizerConfig,
  });
  expect(adding.encode('Hello, world!')).toEqual([391, 488, 562, 450, 425, 466, 414, 407, 365]);
});

it('reads tokens written as objects, as older tokenizer_config.json have them', () => {
  const { tokenizerJson, tokenizerConfig } = files();
  const old = loadTokenizer({
    tokenizerJson,
    tokenizerConfig: { ...tokenizerConfig, eos_token: { content: '<eos>', special: true }, bos_token: null },
  });
  expect(old.eosTokenId).toBe(1);
  expect(old.bosToken).toBeUndefined();
  expect(old.bosTokenId).toBeUndefined();
});

it('leaves spaces before punctuation alone where the config does not say', () => {
  expect(tokenizer.decode(tokenizer.encode("well , it is n't ."))).toBe("well , it is n't .");
});

it('takes typed arrays of ids', () => {
  expect(tokenizer.decode(Int32Array.from(tokenizer.encode('typed')))).toBe('typed');
});

it('refuses a lone surrogate, which would silently become U+FFFD', () => {
  expect(() => tokenizer.encode('cut \ud83d')).toThrow('lone surrogate at character 4');
});

it('says which file holds no tokenizer', () => {
  const { tokenizerJson, tokenizerConfig } = files();
  expect(() => loadTokenizer({ tokenizerJson: [], tokenizerConfig })).toThrow('tokenizer.json: found a list');
  expect(() => loadTokenizer({ tokenizerJson, tokenizerConfig: null })).toThrow('tokenizer_config.json: found null');
  const unknown = { ...tokenizerJson, decoder: { type: 'Rot13' } };
  expect(() => loadTokenizer({ tokenizerJson: unknown, tokenizerConfig })).toThrow('Unknown Decoder type: Rot13');
});
