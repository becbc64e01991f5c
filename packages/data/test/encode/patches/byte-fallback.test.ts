import { Tokenizer as HubTokenizer } from '@huggingface/tokenizers';
import { expect, it } from 'vitest';
import { fixByteFallback } from '../../../src/encode/patches/byte-fallback';
import { readJson } from '../../fixtures';

const tiny = () =>
  new HubTokenizer(readJson<object>('tiny/tokenizer.json'), readJson<object>('tiny/tokenizer_config.json'));

/** Byte tokens, and the text of the Rust tokenizers: `tokenizer.decode` of transformers 5.23.0. */
const cases: readonly (readonly [tokens: string[], text: string])[] = [
  [['<0xEF>', '<0xBB>', '<0xBF>'], '\ufeff'],
  [['<0xEF>', '<0xBB>'], '\ufffd\ufffd'],
  [['<0xF0>', '<0x9F>', '<0x98>', '<0x41>'], '\ufffd\ufffd\ufffd\ufffd'],
];
const decode = (hub: HubTokenizer, tokens: readonly string[]) =>
  hub.decode(tokens.map((token) => hub.token_to_id(token)!));

it('decodes byte tokens as the Rust tokenizers do', () => {
  const hub = tiny();
  fixByteFallback(hub.decoder);
  for (const [tokens, text] of cases) expect(decode(hub, tokens)).toBe(text);
});

it('is still needed: if this fails, delete patches/byte-fallback.ts', () => {
  const upstream = tiny();
  for (const [tokens, text] of cases) expect(decode(upstream, tokens)).not.toBe(text);
});
