import { Decompress } from 'fzstd';
import xxhash from 'xxhash-wasm';

const FRAME = 0xfd2fb528;
const SKIPPABLE = 0x184d2a5; // the upper 28 bits
const MAX_BLOCK = 2 ** 17;
/** fzstd moves its window after each block: the bytes that it may move, and the most of them for a decompressed byte. */
const MAX_MOVED = 2 ** 33;
const MAX_MOVED_PER_BYTE = 2 ** 12;
const MAX_WINDOW = 2 ** 27; // that of `zstd -d` without --long

/**
 * Decompresses a zstd stream of any number of frames (RFC 8878), and checks each frame's checksum if it has one.
 *
 * @throws {Error} if the stream is damaged or cut off
 */
export async function* decompressZstd(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  const { create64 } = await xxhash();
  const input = byteReader(chunks);
  for (let frames = 0; ; frames++) {
    const magic = await input.takeUpTo(4);
    if (magic.length === 0 && frames > 0) return;
    if (magic.length === 0) throw new Error('an empty file');
    if (magic.length < 4) throw new Error('bytes after the last zstd frame');
    if (number(magic) >>> 4 === SKIPPABLE) {
      await input.skip(number(await input.take(4)));
      continue;
    }
    if (number(magic) !== FRAME) throw new Error('bytes after a zstd frame that are not a frame');
    const header = await frameHeader(input);
    const hash = create64();
    for await (const part of blocks(input, joined([magic, header.bytes]), header.window)) {
      hash.update(part);
      yield part;
    }
    if (header.checksum && number(await input.take(4)) !== Number(hash.digest() & 0xffffffffn)) {
      throw new Error('zstd data with a wrong checksum');
    }
  }
}

async function frameHeader(input: ByteReader): Promise<{ bytes: Uint8Array; window: number; checksum: boolean }> {
  const descriptor = await input.take(1);
  const flags = descriptor[0]!;
  const rest = await input.take(headerSize(flags) - 1);
  const window = windowOf(joined([descriptor, rest]));
  // the checksum flag is cleared, so that fzstd ends with the last block: the caller verifies the checksum
  return { bytes: joined([Uint8Array.of(flags & ~4), rest]), window, checksum: (flags & 4) !== 0 };
}

const isSingle = (flags: number) => (flags >> 5) & 1;
const sizeBytes = (flags: number) => [isSingle(flags), 2, 4, 8][flags >> 6]!;

/** Length of a frame's header after the magic number. */
const headerSize = (flags: number) => 2 - isSingle(flags) + [0, 1, 2, 4][flags & 3]! + sizeBytes(flags);

/** @param header of a frame, after the magic number */
function windowOf(header: Uint8Array): number {
  const flags = header[0]!;
  const size = header
    .slice(header.length - sizeBytes(flags))
    .reduceRight((sum, byte) => sum * 256 + byte, sizeBytes(flags) === 2 ? 256 : 0);
  const window = isSingle(flags) ? size : 2 ** (10 + (header[1]! >> 3)) * (1 + (header[1]! & 7) / 8);
  if (window > MAX_WINDOW) throw new Error(`a zstd window of ${window} bytes, over the limit of ${MAX_WINDOW}`);
  return window;
}

/**
 * Decompresses one frame in memory. Checksums are not verified.
 *
 * @throws {Error} if it is damaged, or has more than `maxLength` bytes
 */
export function decompressZstdFrame(frame: Uint8Array, maxLength: number): Uint8Array {
  if (frame.length < 5 || number(frame) !== FRAME) throw new Error('no zstd frame');
  const start = 4 + headerSize(frame[4]!);
  checkBlocks(frame.subarray(start), windowOf(frame.subarray(4, start)), maxLength);
  const output = new Uint8Array(maxLength);
  let length = 0;
  const decoder = new Decompress((part) => {
    if (part.length > maxLength - length) throw new Error(`a zstd frame of more than ${maxLength} bytes`);
    output.set(part, length);
    length += part.length;
  });
  decoder.push(frame, true);
  return output.subarray(0, length);
}

interface BlockHead {
  readonly isLast: boolean;
  /** Bytes of the block after its three-byte head. */
  readonly size: number;
}

function blockHead(head: Uint8Array): BlockHead {
  const bits = head[0]! | (head[1]! << 8) | (head[2]! << 16);
  const isRepeated = ((bits >> 1) & 3) === 1; // a block of one byte, repeated
  if (bits >> 3 > MAX_BLOCK) throw new Error(`a zstd block of ${bits >> 3} bytes, over the limit of ${MAX_BLOCK}`);
  return { isLast: (bits & 1) === 1, size: isRepeated ? 1 : bits >> 3 };
}

/** Rejects many small blocks with a large window, which fzstd would decompress for minutes. */
function checkMoved(blocks: number, window: number, decompressed: number): void {
  if (blocks * window > MAX_MOVED + MAX_MOVED_PER_BYTE * decompressed)
    throw new Error(`${blocks} zstd blocks of only ${decompressed} bytes with a window of ${window}`);
}

/** Checks the block heads of a frame in memory. */
function checkBlocks(bytes: Uint8Array, window: number, decompressed: number): void {
  for (let at = 0, count = 1, isLast = false; !isLast; count++) {
    const head = blockHead(bytes.subarray(at, at + 3));
    at += 3 + head.size;
    isLast = head.isLast;
    if (at > bytes.length) throw new Error('the end of the data inside a zstd block');
    checkMoved(count, window, decompressed);
  }
}

/** Decompresses a frame's blocks, one at a time. */
async function* blocks(
  input: ByteReader,
  header: Uint8Array,
  window: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  const parts: Uint8Array[] = [];
  const frame = new Decompress((part) => void parts.push(part.slice())); // fzstd reuses its window
  frame.push(header);
  let decompressed = 0;
  for (let count = 1, isLast = false; !isLast; count++) {
    const head = await input.take(3);
    const { size, ...block } = blockHead(head);
    isLast = block.isLast;
    checkMoved(count, window, decompressed);
    frame.push(joined([head, await input.take(size)]), isLast);
    const filled = parts.splice(0).filter((part) => part.length > 0);
    for (const part of filled) decompressed += part.length;
    yield* filled;
  }
}

type ByteReader = ReturnType<typeof byteReader>;

/** Reads a stream in pieces of the requested lengths. */
function byteReader(chunks: AsyncIterable<Uint8Array>) {
  const source = chunks[Symbol.asyncIterator]();
  let rest: Uint8Array = new Uint8Array(0);
  const takeUpTo = async (length: number): Promise<Uint8Array> => {
    const parts = [rest];
    let held = rest.length;
    while (held < length) {
      const { value, done } = await source.next();
      if (done) break;
      parts.push(value);
      held += value.length;
    }
    const all = joined(parts);
    rest = all.subarray(length);
    return all.subarray(0, length);
  };
  const take = async (length: number): Promise<Uint8Array> => {
    const bytes = await takeUpTo(length);
    if (bytes.length < length) throw new Error('the end of the file inside zstd data');
    return bytes;
  };
  const skip = async (length: number): Promise<void> => {
    for (let left = length; left > 0; ) left -= (await take(Math.min(left, 2 ** 16))).length;
  };
  return { take, takeUpTo, skip };
}

const number = (bytes: Uint8Array) => (bytes[0]! | (bytes[1]! << 8) | (bytes[2]! << 16) | (bytes[3]! << 24)) >>> 0; // little-endian

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const filled = parts.filter((part) => part.length > 0);
  return filled.length === 1 ? filled[0]! : Buffer.concat(filled);
}
