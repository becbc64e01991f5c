import { createReadStream, existsSync } from 'node:fs';
import { dirname } from 'node:path';
import { textLines } from '@wpo/internal/lines';
import { appendToFile, makeFolder, replaceFile } from '@wpo/internal/node/files';
import type { PairLog, PairRow } from '../pair-log';

/**
 * A log of pairs as JSON lines, synced at each write. `rewind` drops the rows after the step that a run continues from, and lines
 * that are no rows, such as the incomplete last line of a killed run.
 */
export function pairLogFile(path: string): PairLog {
  return {
    write: (rows) => appendToFile(path, rows.map((row) => `${JSON.stringify(row)}\n`).join('')),
    async rewind(step) {
      await makeFolder(dirname(path));
      await replaceFile(path, async (file) => {
        if (step === 0 || !existsSync(path)) return;
        let kept = '';
        for await (const row of readPairLog(path)) {
          if (row.step <= step) kept += `${JSON.stringify(row)}\n`;
          if (kept.length > PART) {
            await file.appendFile(kept);
            kept = '';
          }
        }
        await file.appendFile(kept);
      });
    },
  };
}

const PART = 2 ** 20;

/** The rows of a log of pairs, in order. Lines that are no rows are left out. */
export async function* readPairLog(path: string): AsyncGenerator<PairRow> {
  for await (const line of textLines(createReadStream(path))) {
    const row = parseRow(line);
    if (row !== undefined) yield row;
  }
}

const NUMBERS = ['step', 'weight', 'loss', 'margin', 'chosen_logps', 'rejected_logps'] as const;
const COUNTS = ['prompt_tokens', 'chosen_tokens', 'rejected_tokens'] as const;

function parseRow(line: string): PairRow | undefined {
  try {
    const row = JSON.parse(line) as Partial<PairRow> | null;
    const isRow = typeof row?.id === 'string' && [...NUMBERS, ...COUNTS].every((name) => Number.isFinite(row[name]));
    return isRow ? (row as PairRow) : undefined;
  } catch {
    return undefined;
  }
}
