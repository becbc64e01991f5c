import { mkdir, readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { appendToFile, replaceFile } from '@wpo/internal/node/files';
import { completeLines } from '@wpo/internal/node/jsonl';
import type { MetricsRow, MetricsSink } from '../metrics';

/**
 * Metrics as JSON lines. Each row is written as one line and synced. `rewind` cuts the file to the rows that a resumed run
 * continues, and drops an incomplete last line; it empties the file for a new run.
 */
export function metricsFile(path: string): MetricsSink {
  return {
    async write(row: MetricsRow) {
      await appendToFile(path, `${JSON.stringify(row)}\n`);
    },
    async rewind(rows) {
      await mkdir(dirname(path), { recursive: true });
      const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT') return '';
        throw error;
      });
      const kept = completeLines(text).slice(0, rows);
      await replaceFile(path, kept.map((line) => `${line}\n`).join(''));
    },
  };
}
