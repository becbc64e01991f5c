import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { appendToFile, makeFolder, replaceFile } from '@wpo/internal/node/files';
import { completeLines } from '@wpo/internal/node/jsonl';
import { seal, unseal } from '@wpo/internal/node/sealed';
import type { ReferenceLogps } from '../policy';
import type { ReferenceCache } from '../reference';

/**
 * Reference log-probs in a folder, one JSON line per pair in `<key>.jsonl`. Each line has its pair's index and a checksum, and is
 * appended as a whole. So the file of a killed or damaged run is valid up to its first incomplete or changed line, and the next run
 * continues it from there. A changed line gives a warning.
 */
export function referenceFiles(
  folder: string,
  { warn = console.warn }: { warn?: (message: string) => void } = {},
): ReferenceCache {
  const pathOf = (key: string) => {
    if (!/^[\w.-]+$/.test(key))
      throw new RangeError(`reference cache key: expected letters, digits, - _ and ., found "${key}"`);
    return join(folder, `${key}.jsonl`);
  };
  return {
    async read(key) {
      const path = pathOf(key);
      const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT' || error.code === 'EISDIR') return ''; // a folder there makes the first append fail
        throw error;
      });
      const { values, damagedLine } = leadingEntries(key, text);
      if (damagedLine !== undefined) {
        warn(
          `${path}:${damagedLine}: expected a line with its checksum, found another. The reference's log-probs from pair ` +
            `${values.length + 1} on are recomputed.`,
        );
      }
      const whole = format(key, values, 0);
      if (whole !== text) await replaceFile(path, whole);
      return values;
    },
    async append(key, start, values) {
      await makeFolder(folder);
      await appendToFile(pathOf(key), format(key, values, start));
    },
  };
}

const format = (key: string, values: readonly ReferenceLogps[], start: number) =>
  values.map((value, i) => `${seal(key, { pair: start + i, ...value })}\n`).join('');

/** Entries 0, 1, 2, … up to the first gap or damaged line. Two processes that wrote at once may have left duplicates. */
function leadingEntries(key: string, text: string): { values: ReferenceLogps[]; damagedLine?: number } {
  const values: ReferenceLogps[] = [];
  for (const [i, line] of completeLines(text).entries()) {
    const entry = unseal(key, line);
    if (!entry) return { values, damagedLine: i + 1 };
    const { pair, ...value } = entry as unknown as ReferenceLogps & { readonly pair: number };
    if (pair > values.length) break;
    if (pair === values.length) values.push(value);
  }
  return { values };
}
