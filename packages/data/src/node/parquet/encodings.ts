import type { DecodedArray, SchemaElement } from 'hyparquet';
import { deltaBinaryUnpack, deltaLengthByteArray } from 'hyparquet/src/delta.js';
import { byteStreamSplit } from 'hyparquet/src/encoding.js';
import { readPlain } from 'hyparquet/src/plain.js';
import { Damaged, Unsupported } from './faults';

const SIZES: Readonly<Record<string, number>> = {
  BOOLEAN: 1 / 8,
  INT32: 4,
  INT64: 8,
  INT96: 12,
  FLOAT: 4,
  DOUBLE: 8,
  BYTE_ARRAY: 4, // its length
};

/** The fewest bytes of one value in the encoding PLAIN. */
export const plainSize = ({ type, type_length }: SchemaElement): number =>
  type === 'FIXED_LEN_BYTE_ARRAY' ? Math.max(1, type_length ?? 1) : (SIZES[type ?? ''] ?? 1);

/**
 * Decodes the values of a page. Values in a dictionary encoding come from the dictionary.
 *
 * @param bytes the encoded values, in a buffer of their own
 * @param maxBytes the most bytes to which byte arrays may expand
 */
export function decodeValues(
  bytes: Uint8Array,
  encoding: string | undefined,
  count: number,
  element: SchemaElement,
  dictionary: DecodedArray | undefined,
  maxBytes: number,
): DecodedArray {
  if (count === 0) return []; // a page of nulls may have no bytes
  const type = element.type!;
  const reader = { view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), offset: 0 };
  switch (encoding) {
    case 'PLAIN':
      checkSize(bytes, count, element);
      return readPlain(reader, type, count, element.type_length);
    case 'PLAIN_DICTIONARY':
    case 'RLE_DICTIONARY':
      return fromDictionary(bytes, count, dictionary);
    case 'RLE':
      if (type !== 'BOOLEAN') throw new Damaged(`values of type ${type} in the encoding RLE`);
      return Array.from(decodeRuns(bytes.subarray(4), 1, count), Boolean); // after four bytes of their length
    case 'BYTE_STREAM_SPLIT':
      checkSize(bytes, count, element);
      return byteStreamSplit(reader, count, type, element.type_length);
    case 'DELTA_BINARY_PACKED': {
      const output = type === 'INT32' ? new Int32Array(count) : new BigInt64Array(count);
      deltaBinaryUnpack(reader, count, output);
      return output;
    }
    case 'DELTA_LENGTH_BYTE_ARRAY': {
      const output = new Array<Uint8Array>(count);
      deltaLengthByteArray(reader, count, output);
      return output;
    }
    case 'DELTA_BYTE_ARRAY':
      return deltaByteArray(bytes, reader, count, maxBytes);
    case undefined:
      throw new Damaged('an unknown encoding');
    default:
      throw new Unsupported(`the encoding ${encoding}`);
  }
}

function checkSize(bytes: Uint8Array, count: number, element: SchemaElement): void {
  if (count * plainSize(element) > bytes.length) throw new Damaged(`${count} values in ${bytes.length} bytes`);
}

function fromDictionary(bytes: Uint8Array, count: number, dictionary: DecodedArray | undefined): DecodedArray {
  if (dictionary === undefined) throw new Damaged('values of a dictionary that is missing');
  const indices = decodeRuns(bytes.subarray(1), bytes[0] ?? 0, count);
  if (indices.some((index) => index >= dictionary.length)) throw new Damaged('a value that is not in its dictionary');
  return Array.from(indices, (index) => dictionary[index]);
}

/** Each value is a beginning of the value before it, and a suffix: a small page can expand without end. */
function deltaByteArray(
  bytes: Uint8Array,
  reader: Parameters<typeof deltaBinaryUnpack>[0],
  count: number,
  maxBytes: number,
): Uint8Array[] {
  const prefixes = new Int32Array(count);
  const suffixes = new Int32Array(count);
  deltaBinaryUnpack(reader, count, prefixes);
  deltaBinaryUnpack(reader, count, suffixes);
  let before = new Uint8Array(0);
  let total = 0;
  return Array.from({ length: count }, (_, i) => {
    const [prefix, suffix] = [prefixes[i]!, suffixes[i]!];
    total += prefix + suffix;
    if (prefix < 0 || prefix > before.length || suffix < 0 || suffix > bytes.length - reader.offset)
      throw new Damaged('a value that refers to bytes outside the page');
    if (total > maxBytes) throw new Unsupported('a row group that expands to far more bytes than its text can have');
    const value = new Uint8Array(prefix + suffix);
    value.set(before.subarray(0, prefix));
    value.set(bytes.subarray(reader.offset, reader.offset + suffix), prefix);
    reader.offset += suffix;
    before = value;
    return value;
  });
}

/**
 * Decodes Parquet's hybrid of runs and bit-packed groups: `count` integers of `width` bits. hyparquet's own decoder writes
 * as many values as a damaged run declares.
 */
export function decodeRuns(bytes: Uint8Array, width: number, count: number): Uint32Array {
  const output = new Uint32Array(count);
  if (width === 0) return output;
  if (width > 32) throw new Damaged(`numbers of ${width} bits`);
  let at = 0;
  const byte = (): number => {
    if (at >= bytes.length) throw new Damaged('runs that are cut off');
    return bytes[at++]!;
  };
  for (let done = 0; done < count; ) {
    let head = 0;
    for (let shift = 0, part = 128; part >= 128; shift += 7) {
      if (shift > 28) throw new Damaged('a run that is too long');
      part = byte();
      head += (part & 127) * 2 ** shift;
    }
    const run = Math.floor(head / 2);
    if (head % 2 === 0) {
      let value = 0;
      for (let shift = 0; shift < width; shift += 8) value += byte() * 2 ** shift;
      const end = Math.min(count, done + run);
      output.fill(value, done, end);
      done = end;
    } else {
      const end = Math.min(count, done + 8 * run);
      const next = at + run * width;
      let bits = 0;
      let have = 0;
      for (; done < end; done++) {
        for (; have < width; have += 8) bits += byte() * 2 ** have;
        output[done] = bits % 2 ** width;
        bits = Math.floor(bits / 2 ** width);
        have -= width;
      }
      at = next;
    }
  }
  return output;
}
