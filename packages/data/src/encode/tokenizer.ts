import { Tokenizer as HubTokenizer } from '@huggingface/tokenizers';
import { describe } from '@wpo/internal/describe';
import { printable } from '@wpo/internal/printable';
import { encodeByPieces } from './patches/bpe-pieces';
import { fixByteFallback } from './patches/byte-fallback';
import { checkTokenizerModel } from './tokenizer-model';

/** Converts text to token ids and back. */
export interface Tokenizer {
  /**
   * Token ids of the text, as Python's `tokenizer(text, add_special_tokens=addSpecialTokens)`. Special tokens that are
   * written in the text always become their ids. `addSpecialTokens` (default false) adds the tokens that the tokenizer
   * puts around a text, e.g. `<bos>` at the start.
   *
   * @throws {Error} if the text contains a lone surrogate
   */
  encode(text: string, options?: { readonly addSpecialTokens?: boolean }): number[];
  /** Text of the ids; `''` for none. Ids outside the vocabulary are ignored, as in Python. */
  decode(ids: ArrayLike<number>, options?: { readonly skipSpecialTokens?: boolean }): string;
  /** Id of a token by its exact text, e.g. `<end_of_turn>`; undefined if the vocabulary lacks it. */
  tokenId(token: string): number | undefined;
  /** The largest id plus 1: the number of embeddings that a model needs at least. */
  readonly vocabSize: number;
  /** The texts of all control tokens, e.g. `<bos>` and `<end_of_turn>`. */
  readonly controlTokens: readonly string[];
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
 * @throws {Error} if a file is damaged, no tokenizer can be built from them, or a token has no row in the model's embedding
 */
export function loadTokenizer(files: {
  readonly tokenizerJson: unknown;
  readonly tokenizerConfig: unknown;
  /** The rows of the model's embedding: `vocab_size` in its config.json. Every id must be below. */
  readonly embeddingRows?: number | undefined;
}): Tokenizer {
  const json = checkObject(files.tokenizerJson, 'tokenizer.json');
  const config = checkObject(files.tokenizerConfig, 'tokenizer_config.json');
  const vocabSize = checkTokenizerModel(json);
  const hub = build(json, config);
  fixByteFallback(hub.decoder);
  encodeByPieces(hub);

  const special = specialTokenIds(json, config, hub);
  checkEmbeddingRows(vocabSize, files.embeddingRows, hub);
  const idOf = (token: string | undefined) => (token === undefined ? undefined : hub.token_to_id(token));
  const [bosToken, eosToken, padToken] = (['bos_token', 'eos_token', 'pad_token'] as const).map((key) =>
    specialToken(config, key, hub),
  );

  return {
    encode(text, { addSpecialTokens = false } = {}) {
      const lone = /\p{Surrogate}/u.exec(text);
      if (lone !== null) {
        throw new Error(
          `text to encode: expected valid Unicode, found a lone surrogate at character ${lone.index}. The text was ` +
            'probably cut in the middle of an emoji: restore the character, or remove this half of it.',
        );
      }
      const { ids, tokens } = hub.encode(text, { add_special_tokens: addSpecialTokens });
      for (let i = 0; i < ids.length; i++) {
        if (ids[i] !== undefined) continue;
        throw new Error(
          `tokenizer.json: ${describe(tokens[i])} has no id, and there is no unk_token. Use the tokenizer of the original model.`,
        );
      }
      return ids;
    },
    decode(ids, { skipSpecialTokens = false } = {}) {
      const kept = Array.from(ids).filter(
        (id) => hub.id_to_token(id) !== undefined && !(skipSpecialTokens && special.has(id)),
      );
      return kept.length === 0 ? '' : hub.decode(kept);
    },
    tokenId: idOf,
    vocabSize,
    controlTokens: [...special].flatMap((id) => hub.id_to_token(id) ?? []),
    bosToken,
    bosTokenId: idOf(bosToken),
    eosToken,
    eosTokenId: idOf(eosToken),
    padToken,
    padTokenId: idOf(padToken),
  };
}

type Json = Readonly<Record<string, unknown>>;

function checkObject(value: unknown, file: string): Json {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Json;
  const found = value === null ? 'null' : Array.isArray(value) ? 'a list' : `a ${typeof value}`;
  throw new Error(`${file}: expected a JSON object, found ${found}. Download the file again.`);
}

function build(json: Json, config: Json): HubTokenizer {
  try {
    return new HubTokenizer(json, {
      ...config,
      // the default is false in Python, true in @huggingface/tokenizers
      clean_up_tokenization_spaces: config.clean_up_tokenization_spaces ?? false,
    });
  } catch (error) {
    const isEngines = error instanceof TypeError || error instanceof RangeError;
    const why =
      isEngines || !(error instanceof Error) ? 'a part of it is missing or damaged' : printable(error.message, 200);
    const hint = 'Download the file again, or check that it is of a supported kind.';
    throw new Error(`tokenizer.json: no tokenizer can be built from it (${why}). ${hint}`, { cause: error });
  }
}

function checkEmbeddingRows(vocabSize: number, rows: number | undefined, hub: HubTokenizer): void {
  if (rows === undefined || vocabSize <= rows) return;
  throw new Error(
    `tokenizer.json: expected ids from 0 to ${rows - 1}, the rows of the model's embedding (vocab_size in config.json), found ` +
      `${vocabSize - 1} for ${describe(hub.id_to_token(vocabSize - 1))}. Use the tokenizer of this model.`,
  );
}

/** The text of a special token, which must be in the vocabulary. */
function specialToken(
  config: Json,
  key: 'bos_token' | 'eos_token' | 'pad_token',
  hub: HubTokenizer,
): string | undefined {
  const value = config[key] ?? undefined;
  const text = tokenText(value);
  if (value === undefined || (text !== undefined && hub.token_to_id(text) !== undefined)) return text;
  throw new Error(
    `tokenizer_config.json: ${key}: expected a token of tokenizer.json, or null, found ${describe(value)}. ` +
      'Use the two files of the same model.',
  );
}

function specialTokenIds(json: Json, config: Json, hub: HubTokenizer): Set<number> {
  const ids = new Set<number>();
  for (const { id, special } of json.added_tokens as { id: number; special?: unknown }[]) {
    if (special === true) ids.add(id);
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

/** A token in tokenizer_config.json is its text, or an object that holds the text as `content`. */
function tokenText(token: unknown): string | undefined {
  if (typeof token === 'string') return token;
  const content = typeof token === 'object' && token !== null ? (token as Json).content : undefined;
  return typeof content === 'string' ? content : undefined;
}
