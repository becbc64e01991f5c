import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ReferenceCache, ReferenceLogps } from '../reference';
import { appendDurably, replaceFile } from './durable';

/**
 * Reference log-probs in a folder, one JSON line a pair in `<key>.jsonl`. The file only ever grows by whole lines, each
 * with its pair's index, so what a killed run leaves is good up to its last whole line and is gone on from.
 */
export function referenceFiles(folder: string): ReferenceCache {
  const pathOf = (key: string) => {
    if (!/^[\w.-]+$/.test(key))
      throw new RangeError(`"${key}" cannot name a cache file: use letters, digits, - _ and .`);
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
      await appendDurably(pathOf(key), format(values, start));
    },
  };
}

const format = (values: readonly ReferenceLogps[], start: number) =>
  values.map(({ chosen, rejected }, i) => `${JSON.stringify({ pair: start + i, chosen, rejected })}\n`).join('');

/** Entries 0, 1, 2, … as far as they go without a gap; two processes that wrote at once may have left some twice. */
function leadingEntries(text: string): ReferenceLogps[] {
  const values: ReferenceLogps[] = [];
  for (const line of text.split('\n').slice(0, -1)) {
    const entry = parse(line);
    if (!entry || entry.pair > values.length) break;
    if (entry.pair === values.length) values.push({ chosen: entry.chosen, rejected: entry.rejected });
  }
  return values;
}

function parse(line: string): (ReferenceLogps & { readonly pair: number }) | null {
  try {
    const { pair, chosen, rejected } = JSON.parse(line) as Record<string, unknown>;
    const numbers = [pair, chosen, rejected].every((value) => typeof value === 'number');
    return numbers ? { pair: pair as number, chosen: chosen as number, rejected: rejected as number } : null;
  } catch {
    return null;
  }
}
