import { brotliCompressSync, gzipSync } from 'node:zlib';
import { describe, expect, it, test } from 'vitest';
import { decompressPage } from '../../../src/node/parquet/codecs';
import { crc32 } from '../../../src/node/parquet/pages';
import { endOfStruct } from '../../../src/node/parquet/thrift';

const bytes = (...values: number[]) => Uint8Array.from(values);
const text = (page: Uint8Array) => Buffer.from(page).toString();

describe('decompressPage', () => {
  test.each([
    ['LZ4_RAW', bytes(0x30, 0x61, 0x62, 0x63), 3, 'abc'],
    ['LZ4_RAW', bytes(0x11, 0x61, 0x01, 0x00, 0x10, 0x62), 7, 'aaaaaab'],
    ['LZ4', bytes(0, 0, 0, 3, 0, 0, 0, 4, 0x30, 0x61, 0x62, 0x63), 3, 'abc'],
    ['LZ4', bytes(0x30, 0x61, 0x62, 0x63), 3, 'abc'],
    ['SNAPPY', bytes(3, 8, 0x61, 0x62, 0x63), 3, 'abc'],
    ['GZIP', gzipSync('abc'), 3, 'abc'],
    ['BROTLI', brotliCompressSync('abc'), 3, 'abc'],
    ['UNCOMPRESSED', Buffer.from('abc'), 3, 'abc'],
  ] as const)('%s', (codec, page, length, expected) => {
    expect(text(decompressPage(page, length, codec))).toBe(expected);
  });

  test.each(['LZ4', 'LZ4_RAW', 'SNAPPY', 'GZIP', 'BROTLI', 'ZSTD', 'UNCOMPRESSED'])(
    'a page of no bytes, and one with an empty block, has no values: %s',
    (codec) => {
      expect(decompressPage(bytes(), 0, codec)).toHaveLength(0);
      expect(decompressPage(bytes(0), 0, codec)).toHaveLength(0);
    },
  );

  test.each([
    ['LZ4_RAW', bytes(0x30, 0x61, 0x62, 0x63), 4],
    ['LZ4_RAW', bytes(0x30, 0x61, 0x62, 0x63), 2],
    ['LZ4_RAW', bytes(0x11, 0x61, 0x02, 0x00, 0x10, 0x62), 7],
    ['LZ4_RAW', bytes(0xf0, 0xff), 300],
    ['SNAPPY', bytes(3, 8, 0x61, 0x62), 3],
    ['GZIP', gzipSync('abc').subarray(0, 15), 3],
    ['GZIP', gzipSync(Buffer.alloc(100_000)), 1000],
    ['BROTLI', brotliCompressSync(Buffer.alloc(100_000)), 1000],
    ['ZSTD', bytes(0x28, 0xb5, 0x2f, 0xfd, 0x20, 3, 0x19, 0, 0, 0x61, 0x62), 3],
  ] as const)('%s: a page that is cut off, or longer than its header says, is damage', (codec, page, length) => {
    expect(() => decompressPage(page, length, codec)).toThrow(`a page that does not decompress as ${codec}`);
  });

  it('names a compression that is not supported', () => {
    expect(() => decompressPage(bytes(1), 1, 'LZO')).toThrow('LZO compression');
  });
});

test('the checksum is that of gzip', () => {
  expect(crc32(Buffer.from('123456789'))).toBe(0xcbf43926);
  expect(crc32(bytes())).toBe(0);
});

describe('endOfStruct', () => {
  const nested = (depth: number) => new Uint8Array(2 * depth + 1).fill(0x1c, 0, depth);

  it('returns the offset after a structure', () => {
    // field 1: an integer of two bytes; field 2: text of three bytes; field 3: a list of two booleans
    expect(endOfStruct(bytes(9, 0x15, 0x80, 0x01, 0x18, 3, 1, 2, 3, 0x19, 0x21, 1, 2, 0, 7), 1, 100)).toBe(14);
    expect(endOfStruct(nested(20), 0, 100)).toBe(41);
  });

  test.each([
    ['is cut off', bytes(0x15, 0x80), 'a structure that is cut off'],
    ['has a text longer than the rest', bytes(0x18, 100, 1), 'a structure that is cut off'],
    ['has a list longer than the rest', bytes(0x19, 0xf5, 0xff, 0xff, 0xff, 0xff, 0x0f, 0), 'a list that is cut off'],
    ['has a number without end', new Uint8Array(50).fill(0x85), 'a number of more than 64 bits'],
    ['is nested too deeply', nested(100), 'structures nested more than 32 deep'],
    ['has a value of an unknown type', bytes(0x1d, 0), 'a value of the unknown type 13'],
    ['has too many values', bytes(...new Array(200).fill(0x11), 0), 'a structure of more than 100 values'],
  ])('refuses one that %s', (_, input, message) => {
    expect(() => endOfStruct(input, 0, 100)).toThrow(message);
  });
});
