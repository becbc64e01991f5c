import { brotliDecompressSync, gunzipSync, type ZlibOptions } from 'node:zlib';
import { snappyUncompress } from 'hyparquet';
import { decompressZstdFrame } from '../zstd';
import { Damaged, Unsupported } from './faults';
import { decompressLz4, decompressLz4Block } from './lz4';

/** Decompresses a page to exactly `length` bytes. */
type Decompress = (page: Uint8Array, length: number) => Uint8Array;

const within =
  (decompress: (page: Uint8Array, options: ZlibOptions) => Uint8Array): Decompress =>
  (page, length) =>
    decompress(page, { maxOutputLength: length });

const codecs: Readonly<Record<string, Decompress>> = {
  UNCOMPRESSED: (page) => page,
  GZIP: within(gunzipSync),
  BROTLI: within(brotliDecompressSync),
  SNAPPY: (page, length) => {
    const output = new Uint8Array(length);
    snappyUncompress(page, output);
    return output;
  },
  ZSTD: decompressZstdFrame,
  LZ4: decompressLz4,
  LZ4_RAW: decompressLz4Block,
};

/**
 * Decompresses a page. Memory is bounded by `length`, which the caller bounds.
 *
 * @param codec the name in the column's metadata; undefined if it is unknown
 * @param length the page's length in its header
 * @throws {Damaged} if the page decompresses to another length, or not at all
 */
export function decompressPage(page: Uint8Array, length: number, codec: string | undefined): Uint8Array {
  if (codec === 'LZO') throw new Unsupported('LZO compression');
  const decompress = Object.hasOwn(codecs, codec ?? '') ? codecs[codec!] : undefined;
  if (decompress === undefined) throw new Damaged('an unknown compression');
  if (length === 0) return new Uint8Array(0); // pages without values may have no bytes at all
  let bytes: Uint8Array;
  try {
    bytes = decompress(page, length);
  } catch (error) {
    throw new Damaged(`a page that does not decompress as ${codec}`, { cause: error });
  }
  if (bytes.length !== length) throw new Damaged(`a page of ${bytes.length} bytes instead of ${length}`);
  return bytes;
}
