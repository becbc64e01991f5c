// LZ4 as Parquet files use it: https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md

const MIN_MATCH = 4;
const cutOff = () => new Error('LZ4 data that is cut off');

/** Decompresses one block to exactly `length` bytes. */
export function decompressLz4Block(input: Uint8Array, length: number): Uint8Array {
  const output = new Uint8Array(length);
  let from = 0;
  let to = 0;
  const count = (start: number) => {
    let total = start;
    if (start < 15) return total;
    for (let more = 255; more === 255; total += more) {
      if (from >= input.length) throw cutOff();
      more = input[from++]!;
    }
    return total;
  };
  while (from < input.length) {
    const token = input[from++]!;
    const literals = count(token >> 4);
    if (literals > input.length - from || literals > length - to) throw cutOff();
    output.set(input.subarray(from, from + literals), to);
    from += literals;
    to += literals;
    if (from === input.length) break; // the last sequence has only literals
    const distance = input[from]! | (input[from + 1]! << 8);
    from += 2;
    const match = count(token & 15) + MIN_MATCH;
    if (!(distance > 0 && distance <= to) || match > length - to) throw new Error('LZ4 data that refers outside it');
    for (let i = 0; i < match; i++) output[to + i] = output[to - distance + i]!;
    to += match;
  }
  if (to !== length) throw cutOff();
  return output;
}

/**
 * Decompresses Parquet's older codec LZ4. Hadoop writes blocks after their two lengths in big-endian order; other writers,
 * one bare block.
 */
export function decompressLz4(input: Uint8Array, length: number): Uint8Array {
  return decompressHadoop(input, length) ?? decompressLz4Block(input, length);
}

function decompressHadoop(input: Uint8Array, length: number): Uint8Array | undefined {
  const view = new DataView(input.buffer, input.byteOffset, input.byteLength);
  const output = new Uint8Array(length);
  let to = 0;
  for (let from = 0; from < input.length; ) {
    if (input.length - from < 8) return undefined;
    const [size, compressed] = [view.getUint32(from), view.getUint32(from + 4)];
    from += 8;
    if (compressed > input.length - from || size > length - to) return undefined;
    try {
      output.set(decompressLz4Block(input.subarray(from, from + compressed), size), to);
    } catch {
      return undefined;
    }
    from += compressed;
    to += size;
  }
  return to === length ? output : undefined;
}
