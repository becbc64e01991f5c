import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { appendToFile, replaceFile } from '@wpo/internal/node/files';
import { completeLines } from '@wpo/internal/node/jsonl';
import type { ReferenceLogps } from '../policy';
import type { ReferenceCache } from '../reference';

/**
 * Reference log-probs in a folder, one JSON line per pair in `<key>.jsonl`. Each line has its pair's index and is appended as a
 * whole, so the file of a killed run is valid up to its last complete line, and the next run continues it.
 */
export function referenceFiles(folder: string): ReferenceCache {
  const pathOf = (key: string) => {
    if (!/^[\w.-]+$/.test(key))
      throw new RangeError(`reference cache key: expected letters, digits, - _ and ., found "${key}"`);
    return join(folder, `${key}.jsonl`);
  };
  return {
    async read(key) {
      const text = await readFile(pathOf(key), 'utf8').catch((error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT') return '';
        throw error;
      });
      const values = leadingEntries(text);
      const whole = format(values, 0);
      if (whole !== text) await replaceFile(pathOf(key), whole);
      return values;
    },
    async append(key, start, values) {
      await mkdir(folder, { recursive: true });
      await appendToFile(pathOf(key), format(values, start));
    },
  };
}

const format = (values: readonly ReferenceLogps[], start: number) =>
  values.map((value, i) => `${JSON.stringify({ pair: start + i, ...value })}\n`).join('');

/** Entries 0, 1, 2, … up to the first gap. Two processes that wrote at once may have left duplicates. */
function leadingEntries(text: string): ReferenceLogps[] {
  const values: ReferenceLogps[] = [];
  for (const line of completeLines(text)) {
    const entry = parse(line);
    if (!entry || entry.pair > values.length) break;
    const { pair, ...value } = entry;
    if (pair === values.length) values.push(value);
  }
  return values;
}

function parse(line: string): (ReferenceLogps & { readonly pair: number }) | null {
  try {
    const { pair, chosen, rejected, ldAlpha } = JSON.parse(line) as Record<string, number>;
    const entry = { pair: pair!, chosen: chosen!, rejected: rejected!, ...(ldAlpha === undefined ? {} : { ldAlpha }) };
    return Object.values(entry).every((value) => typeof value === 'number') ? entry : null;
  } catch {
    return null;
  }
}
