// Damaged gzip and zstd files of rows, and pages of every codec of Parquet.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { brotliCompressSync, gzipSync } from 'node:zlib';
import { readRows } from '@wpo/data/node';
import fc from 'fast-check';
import { decompressPage } from '../../packages/data/src/node/parquet/codecs';
import { expectPlainError, type Family, mutatedBytes } from '../family';

const sources = 'packages/data/test/fixtures/sources';
const source = (name: string) => readFileSync(join(sources, name));
const rows = source('rows.jsonl');

interface Input {
  readonly kind: string;
  readonly bytes: Uint8Array;
}

const of = (kind: string, ...seeds: Uint8Array[]): fc.Arbitrary<Input> =>
  mutatedBytes(seeds).map((bytes) => ({ kind, bytes }));

const block = Buffer.concat([Uint8Array.of(0xf0, 200 - 15), rows.subarray(0, 200)]); // LZ4 with literals only
const snappy = Buffer.concat([Uint8Array.of(200, 1, 60 << 2, 199), rows.subarray(0, 200), Uint8Array.of(0x0a, 5, 0)]);

export const family: Family<Input> = {
  name: 'compressed',
  input: fc.oneof(
    of('gz', gzipSync(rows), gzipSync(rows, { level: 0 }), gzipSync(Buffer.alloc(100_000, 0x20))),
    of('zst', ...['fast.zst', 'strong.zst', 'frames.zst', 'pyarrow.zst', 'blocks.zst'].map(source)),
    of('GZIP', gzipSync(rows)),
    of('BROTLI', brotliCompressSync(rows)),
    of('ZSTD', source('strong.zst')),
    of('SNAPPY', snappy),
    of('LZ4_RAW', block),
    of('LZ4', block, Buffer.concat([Uint8Array.of(0, 0, 0, 200, 0, 0, 0, block.length), block])),
  ),
  async check({ kind, bytes }, { folder, count }) {
    try {
      if (kind === kind.toUpperCase())
        decompressPage(bytes, kind === 'SNAPPY' || kind.startsWith('LZ4') ? 200 : rows.length, kind);
      else {
        const path = join(folder, `rows.jsonl.${kind}`);
        writeFileSync(path, bytes);
        for await (const row of readRows(path, { onBadRow: 'skip' })) JSON.stringify(row);
      }
      count(`${kind} read`);
    } catch (error) {
      expectPlainError(error);
      count(`${kind} refused`);
    }
  },
};
