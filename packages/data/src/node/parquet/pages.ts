import type { PageHeader } from 'hyparquet';
import { parquetHeader } from 'hyparquet/src/column.js';
import { Damaged } from './faults';
import { endOfStruct } from './thrift';

export interface Page {
  readonly header: PageHeader;
  /** As stored in the file. */
  readonly bytes: Uint8Array;
}

const MAX_HEADER_VALUES = 1000;

/**
 * The pages of a column, one after another. A page's checksum is verified if it has one.
 *
 * @param chunk the column's bytes, in a buffer of their own
 */
export function* pagesOf(chunk: Uint8Array): Generator<Page, void, undefined> {
  const view = new DataView(chunk.buffer, chunk.byteOffset, chunk.byteLength);
  for (let at = 0; at < chunk.length; ) {
    const start = endOfStruct(chunk, at, MAX_HEADER_VALUES);
    const header = parquetHeader({ view, offset: at });
    const size = header.compressed_page_size;
    if (!isCount(size)) throw new Damaged('a page without a size');
    if (size > chunk.length - start) throw new Damaged(`a page of ${size} bytes at the end of a column`);
    if (!isCount(header.uncompressed_page_size)) throw new Damaged('a page without a size');
    const bytes = chunk.subarray(start, start + size);
    const sum = header.crc as number | undefined;
    if (sum !== undefined && crc32(bytes) !== sum >>> 0) throw new Damaged('a page with a wrong checksum');
    yield { header, bytes };
    at = start + size;
  }
}

export const isCount = (value: unknown): value is number => Number.isInteger(value) && (value as number) >= 0;

const CRC_TABLE = Int32Array.from({ length: 256 }, (_, i) => {
  let c = i;
  for (let k = 0; k < 8; k++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
  return c;
});

/** CRC-32 as in gzip, unsigned. `crc32` of node:zlib is missing in the first versions of Node 20. */
export function crc32(bytes: Uint8Array): number {
  let c = -1;
  for (const byte of bytes) c = CRC_TABLE[(c ^ byte) & 255]! ^ (c >>> 8);
  return ~c >>> 0;
}
