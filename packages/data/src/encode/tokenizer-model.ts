// Checks of tokenizer.json, which may come from a stranger: @huggingface/tokenizers takes what it finds, and then hangs at large
// ids, or returns ids that are no integers.
import { describe } from '@wpo/internal/describe';
import { printable } from '@wpo/internal/printable';

type Json = Readonly<Record<string, unknown>>;

/** More than any published vocabulary has. The memory of a tokenizer grows with its largest id. */
const MAX_TOKENS = 2 ** 22;
const MAX_NESTING = 16;

const DOWNLOAD = 'Download the file again, or use the tokenizer of the original model.';

export function fail(key: string, expected: string, found: string, hint = DOWNLOAD): never {
  throw new Error(`tokenizer.json: ${printable(key, 120)}: expected ${expected}, found ${found}. ${hint}`);
}

const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function checkObject(value: unknown, key: string): Json {
  return isObject(value) ? value : fail(key, 'a JSON object', describe(value));
}

function checkList(value: unknown, key: string): readonly unknown[] {
  return Array.isArray(value) ? value : fail(key, 'a list', describe(value));
}

/**
 * Checks that every token has an id of its own, that ids are integers that can be rows of an embedding, that merges join tokens
 * of the vocabulary, and that every part of the tokenizer has the fields that it needs.
 *
 * @returns the largest id plus 1
 * @throws {Error} naming the key that is wrong
 */
export function checkTokenizerModel(json: Json): number {
  const model = checkObject(json.model, 'model');
  const ids = model.type === 'Unigram' ? unigramIds(model) : vocabularyIds(model);
  checkAddedTokens(json.added_tokens, ids);
  if (model.type === 'BPE') checkMerges(model, ids);
  for (const field of ['end_of_word_suffix', 'continuing_subword_suffix', 'continuing_subword_prefix']) {
    const value = model[field] ?? null;
    if (value !== null && typeof value !== 'string') fail(`model.${field}`, 'text or null', describe(value));
  }
  const unknown = model.type === 'Unigram' ? null : (model.unk_token ?? null);
  if (unknown !== null && !(typeof unknown === 'string' && ids.has(unknown))) {
    fail('model.unk_token', 'a token of the vocabulary, or null', describe(unknown));
  }
  for (const part of ['normalizer', 'pre_tokenizer', 'post_processor', 'decoder'] as const) {
    if (json[part] !== undefined && json[part] !== null) checkPart(json[part], part, PARTS[part], ids, 0);
  }
  let size = 0;
  for (const id of ids.values()) if (id >= size) size = id + 1;
  return size;
}

function checkId(id: unknown, key: string): number {
  if (typeof id === 'number' && Number.isInteger(id) && id >= 0 && id < MAX_TOKENS) return id;
  return fail(key, `an integer id from 0 to ${MAX_TOKENS - 1}`, describe(id));
}

/** The ids of the tokens of a BPE or WordPiece vocabulary. */
function vocabularyIds(model: Json): Map<string, number> {
  if (model.type !== 'BPE' && model.type !== 'WordPiece') {
    fail('model.type', '"BPE", "WordPiece" or "Unigram"', describe(model.type), 'Other kinds are not supported.');
  }
  const vocab = checkObject(model.vocab, 'model.vocab');
  const ids = new Map<string, number>();
  const taken = new Uint8Array(MAX_TOKENS / 8);
  for (const token of Object.keys(vocab)) {
    const id = vocab[token];
    if (!(typeof id === 'number' && id >= 0 && id < MAX_TOKENS && Number.isInteger(id))) checkId(id, keyOf(token));
    const n = id as number;
    if ((taken[n >>> 3]! & (1 << (n & 7))) !== 0)
      fail(keyOf(token), 'an id of its own', `${n}, which another token has`);
    taken[n >>> 3]! |= 1 << (n & 7);
    ids.set(token, n);
  }
  if (ids.size === 0) fail('model.vocab', 'at least one token', 'none');
  return ids;
}

const keyOf = (token: string) => `model.vocab[${JSON.stringify(token.slice(0, 60))}]`;

/** A Unigram vocabulary is a list of tokens with scores; a token's id is its place. */
function unigramIds(model: Json): Map<string, number> {
  const vocab = checkList(model.vocab, 'model.vocab');
  if (vocab.length === 0 || vocab.length > MAX_TOKENS)
    fail('model.vocab', `1 to ${MAX_TOKENS} tokens`, `${vocab.length}`);
  const ids = new Map<string, number>();
  for (const [id, entry] of vocab.entries()) {
    const [token, score] = checkList(entry, `model.vocab[${id}]`);
    if (typeof token !== 'string' || typeof score !== 'number')
      fail(`model.vocab[${id}]`, 'text and a score', describe(entry));
    if (ids.has(token)) fail(`model.vocab[${id}]`, 'a token that occurs once', `${describe(token)} again`);
    ids.set(token, id);
  }
  const unknown = model.unk_id ?? null;
  if (unknown === null || !(checkId(unknown, 'model.unk_id') < vocab.length)) {
    fail('model.unk_id', `an id from 0 to ${vocab.length - 1}`, describe(unknown));
  }
  return ids;
}

function checkAddedTokens(value: unknown, ids: Map<string, number>): void {
  const added = checkList(value, 'added_tokens');
  let taken: Set<number> | undefined; // made only if it is needed: it takes time for a large vocabulary
  for (const [i, entry] of added.entries()) {
    const key = `added_tokens[${i}]`;
    const { id, content } = checkObject(entry, key);
    if (typeof content !== 'string') fail(`${key}.content`, 'text', describe(content));
    const number = checkId(id, `${key}.id`);
    const known = ids.get(content);
    if (known !== undefined && known !== number)
      fail(`${key}.id`, `${known}, the id of ${describe(content)}`, `${number}`);
    taken = known === undefined ? (taken ?? new Set(ids.values())) : taken;
    if (known === undefined && taken?.has(number)) {
      const other = Array.from(ids.keys()).find((token) => ids.get(token) === number);
      fail(`${key}.id`, 'an id of its own', `${number}, which ${describe(other)} has`);
    }
    ids.set(content, number);
    taken?.add(number);
  }
}

/** A merge makes a longer token of two, so merges cannot form a cycle. */
function checkMerges(model: Json, ids: ReadonlyMap<string, number>): void {
  const merges = checkList(model.merges, 'model.merges');
  const areLists = Array.isArray(merges[0]);
  const prefix = typeof model.continuing_subword_prefix === 'string' ? model.continuing_subword_prefix.length : 0;
  for (let i = 0; i < merges.length; i++) {
    const merge = merges[i];
    const pair: unknown = areLists ? merge : typeof merge === 'string' ? merge.split(' ') : undefined;
    if (!Array.isArray(pair) || pair.length !== 2 || typeof pair[0] !== 'string' || typeof pair[1] !== 'string') {
      fail(
        `model.merges[${i}]`,
        areLists ? 'a list of two texts, as the first' : 'two texts with a space between',
        describe(merge),
      );
    }
    const [left, right] = pair as [string, string];
    if (left === '' || right === '') fail(`model.merges[${i}]`, 'two tokens', describe(merge));
    const merged = left + (prefix === 0 ? right : right.slice(prefix));
    if (ids.has(merged) && ids.has(left) && ids.has(right)) continue;
    const unknown = [left, right, merged].find((token) => !ids.has(token));
    fail(`model.merges[${i}]`, 'tokens of the vocabulary', `${describe(unknown)}, which is not in it`);
  }
}

type Field = 'text' | 'boolean' | 'pattern' | 'length' | 'token' | 'template' | 'count';

/** The kinds of a part of a tokenizer, each with the fields that @huggingface/tokenizers reads. A kind may hold a list of others. */
interface Kinds {
  readonly list: string;
  readonly kinds: Readonly<Record<string, Readonly<Record<string, Field>>>>;
}

const REPLACE = { pattern: 'pattern', content: 'text' } as const;

const PARTS: Readonly<Record<'normalizer' | 'pre_tokenizer' | 'post_processor' | 'decoder', Kinds>> = {
  normalizer: {
    list: 'normalizers',
    kinds: {
      BertNormalizer: { clean_text: 'boolean', handle_chinese_chars: 'boolean', lowercase: 'boolean' },
      Precompiled: {},
      Replace: REPLACE,
      NFC: {},
      NFD: {},
      NFKC: {},
      NFKD: {},
      Strip: { strip_left: 'boolean', strip_right: 'boolean' },
      StripAccents: {},
      Lowercase: {},
      Prepend: { prepend: 'text' },
    },
  },
  pre_tokenizer: {
    list: 'pretokenizers',
    kinds: {
      BertPreTokenizer: {},
      Whitespace: {},
      WhitespaceSplit: {},
      Metaspace: { replacement: 'text' },
      ByteLevel: { add_prefix_space: 'boolean' },
      Split: { pattern: 'pattern', behavior: 'text', invert: 'boolean' },
      Punctuation: { behavior: 'text' },
      Digits: { individual_digits: 'boolean' },
      Replace: REPLACE,
      FixedLength: { length: 'length' },
    },
  },
  post_processor: {
    list: 'processors',
    kinds: {
      TemplateProcessing: { single: 'template', pair: 'template' },
      ByteLevel: {},
      BertProcessing: { sep: 'token', cls: 'token' },
      RobertaProcessing: { sep: 'token', cls: 'token' },
    },
  },
  decoder: {
    list: 'decoders',
    kinds: {
      ByteLevel: {},
      WordPiece: { prefix: 'text', cleanup: 'boolean' },
      Metaspace: { replacement: 'text' },
      BPEDecoder: { suffix: 'text' },
      CTC: { pad_token: 'text', word_delimiter_token: 'text', cleanup: 'boolean' },
      Replace: REPLACE,
      Fuse: {},
      Strip: { content: 'text', start: 'count', stop: 'count' },
      ByteFallback: {},
    },
  },
};

function checkPart(value: unknown, key: string, kinds: Kinds, ids: ReadonlyMap<string, number>, depth: number): void {
  const part = checkObject(value, key);
  if (depth > MAX_NESTING) fail(key, `at most ${MAX_NESTING} levels`, 'more');
  if (part.type === 'Sequence') {
    const list = checkList(part[kinds.list], `${key}.${kinds.list}`);
    if (list.length > 100) fail(`${key}.${kinds.list}`, 'at most 100 parts', `${list.length}`);
    for (const [i, entry] of list.entries()) checkPart(entry, `${key}.${kinds.list}[${i}]`, kinds, ids, depth + 1);
    return;
  }
  const fields =
    typeof part.type === 'string' && Object.hasOwn(kinds.kinds, part.type) ? kinds.kinds[part.type] : undefined;
  if (fields === undefined) {
    const known = ['Sequence', ...Object.keys(kinds.kinds)].join(', ');
    fail(`${key}.type`, `one of ${known}`, describe(part.type), 'Other kinds are not supported.');
  }
  for (const [field, kind] of Object.entries(fields)) {
    const [expected, isValid] = FIELDS[kind];
    if (!isValid(part[field], ids)) fail(`${key}.${field}`, expected, describe(part[field]));
  }
}

type Check = (value: unknown, ids: ReadonlyMap<string, number>) => boolean;

const isCount = (value: unknown): value is number =>
  typeof value === 'number' && Number.isInteger(value) && value >= 0 && value < MAX_TOKENS;

/** JavaScript cannot limit the time that a regular expression takes. Gemma's tokenizers have none; these are linear or nearly so. */
const KNOWN_PATTERNS: ReadonlySet<unknown> = new Set([
  '\\s+',
  // GPT-2
  "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
  // Llama 3 and Qwen 2
  ...['\\p{N}{1,3}', '\\p{N}'].map(
    (digits) =>
      "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" +
      `${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`,
  ),
]);

const FIELDS: Readonly<Record<Field, readonly [expected: string, isValid: Check]>> = {
  text: ['text', (value) => typeof value === 'string'],
  boolean: ['true or false', (value) => typeof value === 'boolean'],
  count: ['an integer of 0 or more', isCount],
  length: ['an integer of 1 or more', (value) => isCount(value) && value > 0],
  pattern: [
    '{"String": text}, or the {"Regex": text} of a known tokenizer (others could run for ever)',
    (value) => {
      if (!isObject(value)) return false;
      const { Regex: regex, String: text } = value;
      return regex === undefined ? typeof text === 'string' && text !== '' : KNOWN_PATTERNS.has(regex);
    },
  ],
  token: [
    'a token of the vocabulary and its id',
    (value, ids) =>
      Array.isArray(value) && typeof value[0] === 'string' && isCount(value[1]) && ids.get(value[0]) === value[1],
  ],
  template: [
    'a list of sequences and of special tokens of the vocabulary',
    (value, ids) =>
      Array.isArray(value) &&
      value.every((entry) => {
        if (!isObject(entry)) return false;
        const { SpecialToken: special, Sequence: sequence } = entry;
        if (special === undefined) return isObject(sequence) && (sequence.id === 'A' || sequence.id === 'B');
        return isObject(special) && typeof special.id === 'string' && ids.has(special.id);
      }),
  ],
};
