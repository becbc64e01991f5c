/**
 * The safetensors format, without files: a header of named tensors to and from bytes. A file is the header's length (8
 * bytes, little-endian), the header (JSON), then the tensors' bytes, little-endian, end to end.
 * Source: https://github.com/huggingface/safetensors#format
 */

/** Bytes a value, by safetensors' type names. */
// biome-ignore format: one width a line
const BYTES = {
  C64: 8, F64: 8, I64: 8, U64: 8,
  F32: 4, I32: 4, U32: 4,
  BF16: 2, F16: 2, I16: 2, U16: 2,
  BOOL: 1, F8_E4M3: 1, F8_E5M2: 1, F8_E8M0: 1, I8: 1, U8: 1,
} as const;

/** A tensor's type, by safetensors' name. */
export type SafetensorsDtype = keyof typeof BYTES;

/** What a tensor is, without its values. */
export interface TensorSpec {
  readonly dtype: SafetensorsDtype;
  readonly shape: readonly number[];
}

/** A tensor and where its bytes lie. */
export interface TensorEntry extends TensorSpec {
  /** The first byte's place, from the beginning of the file. */
  readonly offset: number;
  readonly byteLength: number;
}

/** A file's table of contents: it says where each of the file's bytes belongs, none left over and none used twice. */
export interface SafetensorsHeader {
  /** By name, in the order in which they lie in the file. */
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  readonly metadata: ReadonlyMap<string, string>;
}

/** The bytes are not a whole, well-formed safetensors file; the message names file, tensor, what was found and wanted. */
export class SafetensorsError extends Error {
  override name = 'SafetensorsError';
}

/** The longest header that safetensors' own reader accepts. */
const MAX_HEADER_BYTES = 100_000_000;

/** Braces and brackets open at once in a header: the object, a tensor's object, its shape. */
const MAX_DEPTH = 3;

const PREFIX_BYTES = 8;

/**
 * How many bytes to read from the beginning of a file before `parseHeader` can read them: the length and the header.
 *
 * @param prefix the file's first 8 bytes or more
 * @param fileSize bytes
 * @param where names the file in errors
 * @throws SafetensorsError where the length cannot be a header's
 */
export function headerByteLength(prefix: Uint8Array, fileSize: number, where: string): number {
  if (prefix.length < PREFIX_BYTES || fileSize < PREFIX_BYTES) {
    throw new SafetensorsError(
      `${where}: holds ${Math.min(prefix.length, fileSize)} bytes; wanted at least 8, a header's length. ` +
        'The file may be empty or cut short: fetch it again.',
    );
  }
  if (new TextDecoder().decode(prefix.subarray(0, PREFIX_BYTES)) === 'version ') {
    throw new SafetensorsError(
      `${where}: begins with "version ", as a Git LFS pointer does; wanted a safetensors file. ` +
        'Fetch the file that the pointer stands for: git lfs pull.',
    );
  }
  const length = new DataView(prefix.buffer, prefix.byteOffset).getBigUint64(0, true);
  const most = Math.min(MAX_HEADER_BYTES, fileSize - PREFIX_BYTES);
  if (length > BigInt(most)) {
    throw new SafetensorsError(
      `${where}: the header's length is ${length} bytes; wanted at most ${most} ` +
        `(the file has ${fileSize} bytes). The file is cut short or is not a safetensors file.`,
    );
  }
  return PREFIX_BYTES + Number(length);
}

/**
 * Reads and checks a header: each tensor of a known type, its bytes as many as its shape says, and all of them together
 * the whole rest of the file, with no hole and no overlap.
 *
 * @param bytes the file's beginning, at least `headerByteLength` bytes of it
 * @param fileSize bytes
 * @param where names the file in errors
 * @throws SafetensorsError for anything else, whatever the bytes
 */
export function parseHeader(bytes: Uint8Array, fileSize: number, where: string): SafetensorsHeader {
  const dataStart = headerByteLength(bytes, fileSize, where);
  if (bytes.length < dataStart) {
    throw new SafetensorsError(
      `${where}: ${bytes.length} bytes given; wanted ${dataStart}, the length and the header.`,
    );
  }
  const { __metadata__: metadata, ...entries } = parseJson(bytes.subarray(PREFIX_BYTES, dataStart), where);
  const tensors = Object.entries(entries).map(([name, entry]) => parseEntry(name, entry, dataStart, where));
  tensors.sort(([, a], [, b]) => a.offset - b.offset || a.byteLength - b.byteLength);
  checkContiguous(tensors, dataStart, fileSize, where);
  return { tensors: new Map(tensors), metadata: parseMetadata(metadata, where) };
}

/**
 * The header of a file to be written, and where in it each tensor's bytes go. Wider types come first, so that each
 * tensor begins at a multiple of its own width; beyond that the order given is kept. The header is padded with spaces to
 * a multiple of 8 bytes.
 *
 * @param entries names, types and shapes
 * @param metadata text by key; transformers wants `format: 'pt'`, the default
 * @returns `bytes`, the file's beginning; `header`, what `parseHeader` reads from it, in writing order; `fileSize`
 * @throws SafetensorsError where a name comes twice or a shape is not of whole numbers
 */
export function layoutHeader(
  entries: Iterable<TensorSpec & { readonly name: string }>,
  metadata: Readonly<Record<string, string>> = { format: 'pt' },
): { readonly bytes: Uint8Array; readonly header: SafetensorsHeader; readonly fileSize: number } {
  const where = 'safetensors header';
  const ordered = [...entries].sort((a, b) => BYTES[b.dtype] - BYTES[a.dtype]);
  const spans = new Map<string, TensorEntry>();
  let end = 0;
  for (const { name, dtype, shape } of ordered) {
    if (name === '__metadata__') throw new SafetensorsError(`${where}: a tensor may not be named "__metadata__".`);
    if (spans.has(name)) throw new SafetensorsError(`${where}: two tensors are named ${show(name)}; wanted one.`);
    const byteLength = checkedByteLength(name, dtype, shape, where);
    spans.set(name, { dtype, shape: [...shape], offset: end, byteLength });
    end += byteLength;
  }
  const json = Object.fromEntries([
    ['__metadata__', metadata],
    ...[...spans].map(([name, { dtype, shape, offset, byteLength }]) => [
      name,
      { dtype, shape, data_offsets: [offset, offset + byteLength] },
    ]),
  ]);
  const text = new TextEncoder().encode(JSON.stringify(json));
  const dataStart = PREFIX_BYTES + Math.ceil(text.length / 8) * 8;
  if (dataStart - PREFIX_BYTES > MAX_HEADER_BYTES) {
    throw new SafetensorsError(
      `${where}: ${text.length} bytes; wanted at most ${MAX_HEADER_BYTES}. Write fewer tensors.`,
    );
  }
  const bytes = new Uint8Array(dataStart).fill(0x20);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(dataStart - PREFIX_BYTES), true);
  bytes.set(text, PREFIX_BYTES);
  const tensors = new Map([...spans].map(([name, e]) => [name, { ...e, offset: dataStart + e.offset }]));
  return { bytes, header: { tensors, metadata: new Map(Object.entries(metadata)) }, fileSize: dataStart + end };
}

/**
 * How many bytes a tensor's values take.
 *
 * @throws SafetensorsError where the shape is not of whole numbers, or too large to be counted
 */
export function tensorByteLength(name: string, spec: TensorSpec): number {
  return checkedByteLength(name, spec.dtype, spec.shape, 'tensor');
}

function parseJson(bytes: Uint8Array, where: string): Record<string, unknown> {
  const refuse = (found: string) =>
    new SafetensorsError(`${where}: the header ${found}; wanted a JSON object. The file is damaged: fetch it again.`);
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw refuse('is not UTF-8 text');
  }
  if (!text.startsWith('{')) throw refuse(`begins with ${show(text.slice(0, 8))}`);
  checkKeysAndDepth(text, where);
  try {
    return JSON.parse(text);
  } catch (error) {
    throw refuse(`is not JSON (${error instanceof Error ? error.message : error})`);
  }
}

/**
 * What `JSON.parse` lets by: a key given twice, of which it would keep the last; and nesting without end, which costs
 * memory far beyond the file's size. Text that is not JSON passes here, for `JSON.parse` to refuse.
 */
function checkKeysAndDepth(text: string, where: string): void {
  const colon = /[ \t\n\r]*:/y;
  const open: Set<string>[] = [];
  for (let i = 0; i < text.length; i++) {
    const character = text[i]!;
    if (character === '{' || character === '[') {
      open.push(new Set());
      if (open.length > MAX_DEPTH) {
        throw new SafetensorsError(`${where}: the header nests ${open.length} deep; wanted at most ${MAX_DEPTH}.`);
      }
    } else if (character === '}' || character === ']') {
      open.pop();
    } else if (character === '"') {
      const start = i++;
      while (i < text.length && text[i] !== '"') i += text[i] === '\\' ? 2 : 1;
      colon.lastIndex = i + 1;
      if (!colon.test(text)) continue;
      const key = decodedKey(text.slice(start, i + 1));
      const keys = open.at(-1);
      if (keys?.has(key)) throw new SafetensorsError(`${where}: the header gives ${show(key)} twice; wanted once.`);
      keys?.add(key);
    }
  }
}

function decodedKey(quoted: string): string {
  try {
    return JSON.parse(quoted);
  } catch {
    return quoted;
  }
}

function parseMetadata(found: unknown, where: string): Map<string, string> {
  if (found === undefined) return new Map();
  if (!isObject(found))
    throw new SafetensorsError(`${where}: __metadata__ is ${show(found)}; wanted an object of text.`);
  return new Map(
    Object.entries(found).map(([key, value]) => {
      if (typeof value === 'string') return [key, value];
      throw new SafetensorsError(`${where}: __metadata__ ${show(key)} is ${show(value)}; wanted text.`);
    }),
  );
}

function parseEntry(name: string, entry: unknown, dataStart: number, where: string): [string, TensorEntry] {
  const refuse = (what: string, found: unknown, wanted: string) =>
    new SafetensorsError(`${where}: tensor ${show(name)}: ${what} ${show(found)}; wanted ${wanted}.`);
  if (!isObject(entry)) throw refuse('is', entry, 'an object with dtype, shape and data_offsets');
  const { dtype, shape, data_offsets: offsets } = entry;
  if (!isDtype(dtype)) throw refuse('dtype is', dtype, `one of ${Object.keys(BYTES).join(', ')}`);
  if (!isCounts(shape)) throw refuse('shape is', shape, 'a list of whole numbers from 0');
  if (!isCounts(offsets) || offsets.length !== 2) throw refuse('data_offsets is', offsets, 'two whole numbers from 0');
  const [begin, end] = offsets as [number, number];
  const byteLength = checkedByteLength(name, dtype, shape, where);
  if (end - begin !== byteLength) {
    throw refuse('data_offsets span', end - begin, `${byteLength} bytes, as ${dtype} ${show(shape)} takes`);
  }
  return [name, { dtype, shape, offset: dataStart + begin, byteLength }];
}

function checkContiguous(
  tensors: readonly (readonly [string, TensorEntry])[],
  dataStart: number,
  fileSize: number,
  where: string,
): void {
  let end = dataStart;
  let before = 'the header';
  for (const [name, { offset, byteLength }] of tensors) {
    if (offset !== end) {
      throw new SafetensorsError(
        `${where}: tensor ${show(name)} begins at byte ${offset - dataStart} of the data; wanted ${end - dataStart}, ` +
          `where ${before} ends: the data may hold no ${offset > end ? 'holes' : 'overlaps'}.`,
      );
    }
    end = offset + byteLength;
    before = `tensor ${show(name)}`;
  }
  if (end !== fileSize) {
    throw new SafetensorsError(
      `${where}: the file has ${fileSize} bytes; wanted ${end}, where ${before} ends. ` +
        (fileSize < end
          ? 'It is cut short: fetch it again.'
          : 'What follows belongs to no tensor: the file is damaged.'),
    );
  }
}

function checkedByteLength(name: string, dtype: SafetensorsDtype, shape: readonly number[], where: string): number {
  if (!isCounts(shape)) {
    throw new SafetensorsError(
      `${where}: tensor ${show(name)}: shape is ${show(shape)}; wanted a list of whole numbers from 0.`,
    );
  }
  const bytes = shape.includes(0) ? 0 : shape.reduce((product, n) => product * n, BYTES[dtype]);
  if (!Number.isSafeInteger(bytes)) {
    throw new SafetensorsError(
      `${where}: tensor ${show(name)}: shape ${show(shape)} of ${dtype} takes ${bytes} bytes; ` +
        `wanted at most ${Number.MAX_SAFE_INTEGER}.`,
    );
  }
  return bytes;
}

const isDtype = (value: unknown): value is SafetensorsDtype => typeof value === 'string' && Object.hasOwn(BYTES, value);

const isCounts = (value: unknown): value is number[] =>
  Array.isArray(value) && value.every((n) => Number.isSafeInteger(n) && n >= 0 && !Object.is(n, -0));

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** A value as JSON, short enough for a message. */
function show(value: unknown): string {
  const text = JSON.stringify(value) ?? 'missing';
  return text.length > 120 ? `${text.slice(0, 117)}...` : text;
}
