// Bounds for one row group. A file of a few kilobytes may declare gigabytes; real files of text stay far below these.

const MIB = 2 ** 20;

/** Bytes to which `compressed` bytes may decompress. */
export const maxDecompressed = (compressed: number) => Math.max(128 * MIB, 100 * compressed);

/** Values, or rows, that `compressed` bytes may hold. */
export const maxValues = (compressed: number) => Math.max(2 * MIB, 8 * compressed);

/** Node reads at most this many bytes at once. */
export const MAX_CHUNK = 2 ** 31 - 1;

/** Bytes of a footer: its values take about twenty times as much memory. */
export const MAX_FOOTER = 32 * MIB;
