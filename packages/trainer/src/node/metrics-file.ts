import { readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { appendToFile, makeFolder, replaceFile } from '@wpo/internal/node/files';
import type { MetricsRow, MetricsSink } from '../metrics';

/**
 * Metrics as JSON lines. Each row is written as one line and synced. `rewind` makes the file hold exactly the rows of the run so
 * far. Rows after them, such as those that a killed run wrote after its last checkpoint, are dropped. Missing or changed rows are
 * restored from the checkpoint, with a warning.
 */
export function metricsFile(
  path: string,
  { warn = console.warn }: { warn?: (message: string) => void } = {},
): MetricsSink {
  return {
    async write(row: MetricsRow) {
      await appendToFile(path, format([row]));
    },
    async rewind(rows) {
      await makeFolder(dirname(path));
      const found = await readFile(path, 'utf8').catch(() => ''); // what cannot be read is replaced, or cannot be written either
      const expected = format(rows);
      if (!found.startsWith(expected)) {
        warn(
          `${path}: expected the ${rows.length} rows of the run so far, found others. They are restored from the checkpoint.`,
        );
      }
      await replaceFile(path, expected);
    },
  };
}

const format = (rows: readonly MetricsRow[]) => rows.map((row) => `${JSON.stringify(row)}\n`).join('');
