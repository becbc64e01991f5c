import { mkdir, readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { MetricsRow, MetricsSink } from '../metrics';
import { appendDurably, replaceFile } from './durable';

/**
 * Metrics as JSON lines. A row is written as one whole line and synced; `rewind` cuts the file, half-written last line
 * included, to the rows that a resumed run goes on from, and empties it for a new run.
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
      // what follows the last newline is half a line
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
