import { ByteFallbackDecoder, type Decoder, Tokenizer as HubTokenizer, SequenceDecoder } from '@huggingface/tokenizers';
import { encodeByPieces } from './bpe-pieces';

/** Text to token ids and back. */
export interface Tokenizer {
  /**
   * Token ids of the text, as Python's `tokenizer(text, add_special_tokens=addSpecialTokens)`. Special tokens that are
   * written in the text become their ids either way; `addSpecialTokens` (default false) adds those of the tokenizer's
   * post-processor, e.g. `<bos>` at the start.
   *
   * @throws {Error} where the text holds a lone surrogate
   */
  encode(text: string, options?: { readonly addSpecialTokens?: boolean }): number[];
  /** Text of the ids; `''` for none. Ids outside the vocabulary are left out, as in Python. */
  decode(ids: ArrayLike<number>, options?: { readonly skipSpecialTokens?: boolean }): string;
  /** Id of a token by its exact text, e.g. `<end_of_turn>`; undefined where the vocabulary lacks it. */
  tokenId(token: string): number | undefined;
  /** One more than the largest id: a model needs at least so many embeddings. */
  readonly vocabSize: number;
  readonly bosToken: string | undefined;
  readonly bosTokenId: number | undefined;
  readonly eosToken: string | undefined;
  readonly eosTokenId: number | undefined;
  readonly padToken: string | undefined;
  readonly padTokenId: number | undefined;
}

/**
 * Makes a tokenizer from the parsed `tokenizer.json` and `tokenizer_config.json` of a Hugging Face model.
 *
 * @throws {Error} where the files hold no tokenizer that can be built
 */
export function loadTokenizer(files: {
  readonly tokenizerJson: unknown;
  readonly tokenizerConfig: unknown;
}): Tokenizer {
  const json = object(files.tokenizerJson, 'tokenizer.json');
  const config = object(files.tokenizerConfig, 'tokenizer_config.json');
  const hub = build(json, config);
  mendByteFallback(hub.decoder);
  encodeByPieces(hub);

  const special = specialTokenIds(json, config, hub);
  let vocabSize = 0;
  for (const id of hub.get_vocab().values()) vocabSize = Math.max(vocabSize, id + 1);
  const idOf = (token: string | undefined) => (token === undefined ? undefined : hub.token_to_id(token));
  const [bosToken, eosToken, padToken] = ['bos_token', 'eos_token', 'pad_token'].map((key) => tokenText(config[key]));

  return {
    encode(text, { addSpecialTokens = false } = {}) {
      const lone = /\p{Surrogate}/u.exec(text);
      if (lone !== null) {
        throw new Error(
          `cannot encode text with a lone surrogate at character ${lone.index}, wanted text that UTF-8 can hold. ` +
            'Half of a two-part character is left, mostly by cutting text in the middle of an emoji: mend or remove it.',
        );
      }
      return hub.encode(text, { add_special_tokens: addSpecialTokens }).ids;
    },
    decode(ids, { skipSpecialTokens = false } = {}) {
      const kept = Array.from(ids).filter(
        (id) => hub.id_to_token(id) !== undefined && !(skipSpecialTokens && special.has(id)),
      );
      return kept.length === 0 ? '' : hub.decode(kept);
    },
    tokenId: idOf,
    vocabSize,
    bosToken,
    bosTokenId: idOf(bosToken),
    eosToken,
    eosTokenId: idOf(eosToken),
    padToken,
    padTokenId: idOf(padToken),
  };
}

type Json = Readonly<Record<string, unknown>>;

function object(value: unknown, file: string): Json {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Json;
  const found = value === null ? 'null' : Array.isArray(value) ? 'a list' : typeof value;
  throw new Error(`${file}: found ${found}, wanted a JSON object. Get the file again.`);
}

function build(json: Json, config: Json): HubTokenizer {
  try {
    // Python's default is to leave spaces as they are, the library's is not
    return new HubTokenizer(json, {
      ...config,
      clean_up_tokenization_spaces: config.clean_up_tokenization_spaces ?? false,
    });
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new Error(
      `tokenizer.json: no tokenizer can be built from it (${why}). Get the file again, or check its kind.`,
      {
        cause: error,
      },
    );
  }
}

function specialTokenIds(json: Json, config: Json, hub: HubTokenizer): Set<number> {
  const added = Array.isArray(json.added_tokens) ? (json.added_tokens as unknown[]) : [];
  const ids = new Set<number>();
  for (const token of added) {
    const { id, special } = object(token, 'tokenizer.json: added_tokens');
    if (special === true && typeof id === 'number') ids.add(id);
  }
  const lists = [config.additional_special_tokens, config.extra_special_tokens].flatMap((list) =>
    typeof list === 'object' && list !== null ? Object.values(list) : [],
  );
  const named = ['bos', 'eos', 'unk', 'pad', 'sep', 'cls', 'mask'].map((name) => config[`${name}_token`]);
  for (const token of [...lists, ...named]) {
    const text = tokenText(token);
    const id = text === undefined ? undefined : hub.token_to_id(text);
    if (id !== undefined) ids.add(id);
  }
  return ids;
}

/** A token in tokenizer_config.json is its text, or an object that holds it. */
function tokenText(token: unknown): string | undefined {
  if (typeof token === 'string') return token;
  const content = typeof token === 'object' && token !== null ? (token as Json).content : undefined;
  return typeof content === 'string' ? content : undefined;
}

/**
 * Puts the byte-fallback rule of the Rust tokenizers in place: a run of byte tokens is UTF-8 as a whole, or each byte
 * is one U+FFFD (https://github.com/huggingface/tokenizers, tokenizers/src/decoders/byte_fallback.rs). The library
 * drops a U+FEFF in front of a run and gives fewer U+FFFD.
 */
function mendByteFallback(decoder: Decoder | null): void {
  if (decoder instanceof SequenceDecoder) decoder.decoders.forEach(mendByteFallback);
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
