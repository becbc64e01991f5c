import { ByteFallbackDecoder, type Decoder, SequenceDecoder } from '@huggingface/tokenizers';

/**
 * Fixes decoding of byte tokens (`<0xE2>`) in @huggingface/tokenizers 0.2.0, in place.
 *
 * The Rust tokenizers decode a run of byte tokens as a whole, and if it is not valid UTF-8 emit one U+FFFD per byte
 * (https://github.com/huggingface/tokenizers, tokenizers/src/decoders/byte_fallback.rs). The JavaScript version drops a
 * U+FEFF at the start of a run, and emits fewer U+FFFD. test/encode/patches/byte-fallback.test.ts fails once the package
 * decodes correctly: then delete this file.
 */
export function fixByteFallback(decoder: Decoder | null): void {
  if (decoder instanceof SequenceDecoder) decoder.decoders.forEach(fixByteFallback);
  if (decoder instanceof ByteFallbackDecoder) decoder.decode_chain = joinByteTokens;
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function joinByteTokens(tokens: readonly string[]): string[] {
  const joined: string[] = [];
  let bytes: number[] = [];
  const flush = () => {
    if (bytes.length === 0) return;
    try {
      joined.push(utf8.decode(Uint8Array.from(bytes)));
    } catch {
      joined.push('\ufffd'.repeat(bytes.length));
    }
    bytes = [];
  };
  for (const token of tokens) {
    const hex = /^<0x([0-9A-Fa-f]{2})>$/.exec(token)?.[1];
    if (hex !== undefined) {
      bytes.push(Number.parseInt(hex, 16));
    } else {
      flush();
      joined.push(token);
    }
  }
  flush();
  return joined;
}
