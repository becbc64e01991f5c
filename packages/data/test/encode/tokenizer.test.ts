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

it('encodes as Python does: byte fallback, emoji, double spaces, special tokens in the text', () => {
  expect(python.encode.length).toBeGreaterThan(190);
  expect(python.encode.map(({ text }) => ({ text, ids: tokenizer.encode(text) }))).toEqual(python.encode);
});

it('decodes as Python does: broken byte runs, byte-order marks, ids outside the vocabulary, no ids', () => {
  expect(python.decode.length).toBeGreaterThan(160);
  const decoded = python.decode.map(({ ids }) => ({
    ids,
    text: tokenizer.decode(ids),
    plain: tokenizer.decode(ids, { skipSpecialTokens: true }),
  }));
  expect(decoded).toEqual(python.decode);
});

it('decodes encoded text to the same text, except U+2581, which becomes a space', () => {
  for (const { text } of python.encode) {
    expect(tokenizer.decode(tokenizer.encode(text))).toBe(text.replaceAll('\u2581', ' '));
  }
});

it('has the special tokens and the size of the vocabulary', () => {
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

it('puts special tokens around a text only when asked to', () => {
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
  const ids = [391, 488, 562, 450, 425, 466, 414, 407, 365];
  expect(adding.encode('Hello, world!')).toEqual(ids);
  expect(adding.encode('Hello, world!', { addSpecialTokens: true })).toEqual([2, ...ids]);
});

it('reads tokens written as objects, as in older tokenizer_config.json files', () => {
  const { tokenizerJson, tokenizerConfig } = files();
  const old = loadTokenizer({
    tokenizerJson,
    tokenizerConfig: { ...tokenizerConfig, eos_token: { content: '<eos>', special: true }, bos_token: null },
  });
  expect(old.eosTokenId).toBe(1);
  expect(old.bosToken).toBeUndefined();
  expect(old.bosTokenId).toBeUndefined();
});

it('keeps spaces before punctuation unless the config says otherwise', () => {
  expect(tokenizer.decode(tokenizer.encode("well , it is n't ."))).toBe("well , it is n't .");
});

it('accepts typed arrays of ids', () => {
  expect(tokenizer.decode(Int32Array.from(tokenizer.encode('typed')))).toBe('typed');
});

it('rejects a lone surrogate, which would silently become U+FFFD', () => {
  expect(() => tokenizer.encode('cut \ud83d')).toThrow('lone surrogate at character 4');
});

it('names the file that is not a tokenizer', () => {
  const { tokenizerJson, tokenizerConfig } = files();
  expect(() => loadTokenizer({ tokenizerJson: [], tokenizerConfig })).toThrow(
    'tokenizer.json: expected a JSON object, found a list',
  );
  expect(() => loadTokenizer({ tokenizerJson, tokenizerConfig: null })).toThrow(
    'tokenizer_config.json: expected a JSON object, found null',
  );
  const unknown = { ...tokenizerJson, decoder: { type: 'Rot13' } };
  expect(() => loadTokenizer({ tokenizerJson: unknown, tokenizerConfig })).toThrow(
    'decoder.type: expected one of Sequence, ByteLevel',
  );
});
