// Damaged Parquet files: every encoding and codec of the fixtures, with and without checksums.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { readRecords, readRows } from '@wpo/data/node';
import { expectPlainError, type Family, mutatedBytes } from '../family';

const folder = 'packages/data/test/fixtures/sources';
// biome-ignore format: one table
const names = [
  'brotli', 'checksums', 'empty', 'gzip', 'interval', 'lz4', 'none', 'nulls-v1-lz4', 'nulls-v2-snappy', 'plain-v2', 'snappy', 'zstd',
];

export const family: Family<Uint8Array> = {
  name: 'parquet',
  input: mutatedBytes(names.map((name) => readFileSync(join(folder, `${name}.parquet`)))),
  async check(input, { folder, count }) {
    const path = join(folder, 'file.parquet');
    writeFileSync(path, input);
    for (const read of [() => readRows(path, { onBadRow: 'skip' }), () => readRecords(path)]) {
      try {
        for await (const row of read()) JSON.stringify(row);
        count('read');
      } catch (error) {
        expectPlainError(error);
        if (!error.message.startsWith(path)) throw new Error(`the file is not named: ${error.message}`);
        count(error.message.includes('that this version can read') ? 'refused as not supported' : 'refused as damaged');
      }
    }
  },
};
