/**
 * The safetensors header, to and from bytes. A file is the header's length (8 bytes, little-endian), the header (JSON), then
 * the tensors' bytes, little-endian, without gaps.
 * Source: https://github.com/huggingface/safetensors#format
 */

import { describe } from '@wpo/internal/describe';
import { isObject, JsonError, parseJson } from '@wpo/internal/json';

/** A tensor's type, by safetensors' name. */
// biome-ignore format: one width per line
export type SafetensorsDtype =
  | 'C64' | 'F64' | 'I64' | 'U64'
  | 'F32' | 'I32' | 'U32'
  | 'BF16' | 'F16' | 'I16' | 'U16'
  | 'BOOL' | 'F8_E4M3' | 'F8_E5M2' | 'F8_E8M0' | 'I8' | 'U8';

/** Bytes per value of each safetensors type. */
// biome-ignore format: one width per line
const BYTES: Readonly<Record<SafetensorsDtype, number>> = {
  C64: 8, F64: 8, I64: 8, U64: 8,
  F32: 4, I32: 4, U32: 4,
  BF16: 2, F16: 2, I16: 2, U16: 2,
  BOOL: 1, F8_E4M3: 1, F8_E5M2: 1, F8_E8M0: 1, I8: 1, U8: 1,
};

/** Type and shape of a tensor. */
export interface TensorSpec {
  readonly dtype: SafetensorsDtype;
  readonly shape: readonly number[];
}

/** A tensor and the position of its bytes. */
export interface TensorEntry extends TensorSpec {
  /** Offset of the first byte in the file. */
  readonly offset: number;
  readonly byteLength: number;
}

/** A file's header. Its tensors cover the rest of the file, without gaps or overlaps. */
export interface SafetensorsHeader {
  /** By name, in file order. */
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  readonly metadata: ReadonlyMap<string, string>;
}

/** The bytes are not a complete, valid safetensors file. */
export class SafetensorsError extends Error {
  override name = 'SafetensorsError';
}

/** The limit of safetensors' own reader. */
const MAX_HEADER_BYTES = 100_000_000;

/** Nesting of a header: the object, a tensor's object, its shape. */
const MAX_DEPTH = 3;

const PREFIX_BYTES = 8;

/**
 * The number of bytes that `parseHeader` needs from the beginning of a file: the length and the header.
 *
 * @param prefix the file's first 8 bytes or more
 * @param fileSize bytes
 * @param where the file's name for errors
 * @throws SafetensorsError if the length exceeds the file or 100 MB, or the file is a Git LFS pointer
 */
export function headerByteLength(prefix: Uint8Array, fileSize: number, where: string): number {
  if (prefix.length < PREFIX_BYTES || fileSize < PREFIX_BYTES) {
    throw new SafetensorsError(
      `${where}: expected at least 8 bytes, found ${Math.min(prefix.length, fileSize)}. ` +
        'The file is empty or truncated: download it again.',
    );
  }
  if (new TextDecoder().decode(prefix.subarray(0, PREFIX_BYTES)) === 'version ') {
    throw new SafetensorsError(
      `${where}: expected a safetensors file, found a Git LFS pointer. Download the file itself: git lfs pull.`,
    );
  }
  const length = new DataView(prefix.buffer, prefix.byteOffset).getBigUint64(0, true);
  const most = Math.min(MAX_HEADER_BYTES, fileSize - PREFIX_BYTES);
  if (length > BigInt(most)) {
    throw new SafetensorsError(
      `${where}: header length: expected at most ${most} bytes (the file has ${fileSize}), found ${length}. ` +
        'The file is truncated or is not a safetensors file.',
    );
  }
  return PREFIX_BYTES + Number(length);
}

/**
 * Reads and checks a header: every type is known, every tensor has as many bytes as its shape and type need, and the tensors
 * cover the rest of the file without gaps or overlaps.
 *
 * @param bytes the file's beginning, at least `headerByteLength` bytes of it
 * @param fileSize bytes
 * @param where the file's name for errors
 * @throws SafetensorsError if the header is invalid or does not match the file's size
 */
export function parseHeader(bytes: Uint8Array, fileSize: number, where: string): SafetensorsHeader {
  const dataStart = headerByteLength(bytes, fileSize, where);
  if (bytes.length < dataStart) {
    throw new SafetensorsError(
      `${where}: expected the first ${dataStart} bytes (length and header), found ${bytes.length}.`,
    );
  }
  const { __metadata__: metadata, ...entries } = parseHeaderJson(bytes.subarray(PREFIX_BYTES, dataStart), where);
  const tensors = Object.entries(entries).map(([name, entry]) => parseEntry(name, entry, dataStart, where));
  tensors.sort(([, a], [, b]) => a.offset - b.offset || a.byteLength - b.byteLength);
  checkContiguous(tensors, dataStart, fileSize, where);
  return { tensors: new Map(tensors), metadata: parseMetadata(metadata, where) };
}

/**
 * Makes the header of a new file. Wider types come first, so that each tensor is aligned to its type; tensors of the same
 * width keep their order. The header is padded with spaces to a multiple of 8 bytes.
 *
 * @param metadata default `format: 'pt'`, which transformers requires
 * @returns `bytes`, the beginning of the file; `header`, the result of `parseHeader` for these bytes; `fileSize`
 * @throws SafetensorsError for a repeated or reserved name, an invalid shape, or a header above 100 MB
 */
export function makeHeader(
  entries: Iterable<TensorSpec & { readonly name: string }>,
  metadata: Readonly<Record<string, string>> = { format: 'pt' },
): { readonly bytes: Uint8Array; readonly header: SafetensorsHeader; readonly fileSize: number } {
  const where = 'makeHeader';
  const ordered = [...entries].sort((a, b) => BYTES[b.dtype] - BYTES[a.dtype]);
  const entriesByName = new Map<string, TensorEntry>();
  let end = 0;
  for (const { name, dtype, shape } of ordered) {
    if (name === '__metadata__')
      throw new SafetensorsError(`${where}: expected a tensor name, found "__metadata__", which is reserved.`);
    if (entriesByName.has(name))
      throw new SafetensorsError(`${where}: expected unique tensor names, found ${describe(name)} twice.`);
    const byteLength = checkedByteLength(name, dtype, shape, where);
    entriesByName.set(name, { dtype, shape: [...shape], offset: end, byteLength });
    end += byteLength;
  }
  const json = Object.fromEntries([
    ['__metadata__', metadata],
    ...[...entriesByName].map(([name, { dtype, shape, offset, byteLength }]) => [
      name,
      { dtype, shape, data_offsets: [offset, offset + byteLength] },
    ]),
  ]);
  const text = new TextEncoder().encode(JSON.stringify(json));
  const dataStart = PREFIX_BYTES + Math.ceil(text.length / 8) * 8;
  if (dataStart - PREFIX_BYTES > MAX_HEADER_BYTES) {
    throw new SafetensorsError(
      `${where}: header: expected at most ${MAX_HEADER_BYTES} bytes, found ${text.length}. Write fewer tensors per file.`,
    );
  }
  const bytes = new Uint8Array(dataStart).fill(0x20);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(dataStart - PREFIX_BYTES), true);
  bytes.set(text, PREFIX_BYTES);
  const tensors = new Map([...entriesByName].map(([name, e]) => [name, { ...e, offset: dataStart + e.offset }]));
  return { bytes, header: { tensors, metadata: new Map(Object.entries(metadata)) }, fileSize: dataStart + end };
}

/**
 * The number of bytes of a tensor's values.
 *
 * @throws SafetensorsError if the shape has other values than whole numbers, or the size is not a safe integer
 */
export function tensorByteLength(name: string, spec: TensorSpec): number {
  return checkedByteLength(name, spec.dtype, spec.shape, 'tensor');
}

function parseHeaderJson(bytes: Uint8Array, where: string): Record<string, unknown> {
  const refuse = (found: string) =>
    new SafetensorsError(
      `${where}: header: expected a JSON object, found ${found}. The file is damaged: download it again.`,
    );
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw refuse('text that is not UTF-8');
  }
  if (!text.startsWith('{')) throw refuse(`text that begins with ${describe(text.slice(0, 8))}`);
  checkKeysAndDepth(text, where);
  try {
    return parseJson(text) as Record<string, unknown>;
  } catch (error) {
    throw error instanceof JsonError ? refuse(error.message) : error;
  }
}

/**
 * Refuses repeated keys and deep nesting, which `JSON.parse` accepts: it keeps only the last of repeated keys, and nesting takes
 * far more memory than the file. Invalid JSON passes here; `JSON.parse` refuses it.
 */
function checkKeysAndDepth(text: string, where: string): void {
  const colon = /[ \t\n\r]*:/y;
  const open: Set<string>[] = [];
  for (let i = 0; i < text.length; i++) {
    const character = text[i]!;
    if (character === '{' || character === '[') {
      open.push(new Set());
      if (open.length > MAX_DEPTH) {
        throw new SafetensorsError(`${where}: header: expected at most ${MAX_DEPTH} levels of nesting, found more.`);
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
      if (keys?.has(key)) {
        throw new SafetensorsError(`${where}: header: expected unique keys, found ${describe(key)} twice.`);
      }
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

/** `null` is no metadata, as for safetensors' own reader. */
function parseMetadata(found: unknown, where: string): Map<string, string> {
  if (found === undefined || found === null) return new Map();
  if (!isObject(found))
    throw new SafetensorsError(`${where}: __metadata__: expected an object of strings, found ${describe(found)}.`);
  return new Map(
    Object.entries(found).map(([key, value]) => {
      if (typeof value === 'string') return [key, value];
      throw new SafetensorsError(
        `${where}: __metadata__: ${describe(key)}: expected a string, found ${describe(value)}.`,
      );
    }),
  );
}

function parseEntry(name: string, entry: unknown, dataStart: number, where: string): [string, TensorEntry] {
  const refuse = (field: string, found: unknown, expected: string) =>
    new SafetensorsError(`${where}: tensor ${describe(name)}: ${field}expected ${expected}, found ${describe(found)}.`);
  if (!isObject(entry)) throw refuse('', entry, 'an object with dtype, shape and data_offsets');
  const { dtype, shape, data_offsets: offsets } = entry;
  if (!isDtype(dtype)) throw refuse('dtype: ', dtype, `one of ${Object.keys(BYTES).join(', ')}`);
  if (!isCounts(shape)) throw refuse('shape: ', shape, 'a list of whole numbers');
  if (!isCounts(offsets) || offsets.length !== 2) throw refuse('data_offsets: ', offsets, 'two whole numbers');
  const [begin, end] = offsets as [number, number];
  const byteLength = checkedByteLength(name, dtype, shape, where);
  if (end - begin !== byteLength) {
    throw refuse('data_offsets: ', offsets, `a difference of ${byteLength} bytes for ${dtype} ${describe(shape)}`);
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
        `${where}: tensor ${describe(name)}: expected data from byte ${end - dataStart}, where ${before} ends, found ` +
          `${offset - dataStart}: data may not have ${offset > end ? 'gaps' : 'overlaps'}.`,
      );
    }
    end = offset + byteLength;
    before = `tensor ${describe(name)}`;
  }
  if (end !== fileSize) {
    throw new SafetensorsError(
      `${where}: expected a file of ${end} bytes, where ${before} ends, found ${fileSize}. ` +
        (fileSize < end
          ? 'The file is truncated: download it again.'
          : 'The file is damaged: the bytes after that belong to no tensor.'),
    );
  }
}

function checkedByteLength(name: string, dtype: SafetensorsDtype, shape: readonly number[], where: string): number {
  if (!isCounts(shape)) {
    throw new SafetensorsError(
      `${where}: tensor ${describe(name)}: shape: expected a list of whole numbers, found ${describe(shape)}.`,
    );
  }
  const bytes = shape.includes(0) ? 0 : shape.reduce((product, n) => product * n, BYTES[dtype]);
  if (!Number.isSafeInteger(bytes)) {
    throw new SafetensorsError(
      `${where}: tensor ${describe(name)}: shape: expected at most ${Number.MAX_SAFE_INTEGER} bytes, ` +
        `found ${bytes} for ${dtype} ${describe(shape)}.`,
    );
  }
  return bytes;
}

const isDtype = (value: unknown): value is SafetensorsDtype => typeof value === 'string' && Object.hasOwn(BYTES, value);

const isCounts = (value: unknown): value is number[] =>
  Array.isArray(value) && value.every((n) => Number.isSafeInteger(n) && n >= 0 && !Object.is(n, -0));
