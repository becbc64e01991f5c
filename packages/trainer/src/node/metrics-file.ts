import { mkdir, readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { MetricsRow, MetricsSink } from '../metrics';
import { appendDurably, replaceFile } from './durable';

/**
 * Metrics as JSON lines. Each row is written as one line and synced. `rewind` cuts the file to the rows that a resumed run
 * continues, and drops an incomplete last line; it empties the file for a new run.
 */
export function metricsFile(path: string): MetricsSink {
  return {
    async write(row: MetricsRow) {
      await appendDurably(path, `${JSON.stringify(row)}\n`);
    },
    async rewind(rows) {
      await mkdir(dirname(path), { recursive: true });
      const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT') return '';
        throw error;
      });
      // the text after the last newline is an incomplete line
      const whole = text.split('\n').slice(0, -1);
      await replaceFile(
        path,
        whole
          .slice(0, rows)
          .map((line) => `${line}\n`)
          .join(''),
      );
    },
  };
}
