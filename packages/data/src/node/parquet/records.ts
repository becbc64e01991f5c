import { type FileHandle, open } from 'node:fs/promises';
import { isOutOfMemory } from '@wpo/internal/out-of-memory';
import { printable } from '@wpo/internal/printable';
import type { DecodedArray } from 'hyparquet';
import { assembleNested } from 'hyparquet/src/assemble.js';
import type { DataRecord } from '../../rows/read-rows';
import { DAMAGED, fileError } from '../files';
import { decodeColumn } from './column';
import { Damaged, Unsupported } from './faults';
import { type Footer, type Group, readBytes, readFooter } from './footer';
import { maxDecompressed, maxValues } from './limits';
import { parsers, toJson } from './values';

/**
 * Reads a Parquet file, one row group in memory at a time. A row's line is its number, counted from 1. Values are
 * converted to JSON's: 64-bit integers to numbers (to text if a number is not exact), absent lists to null, dates and
 * intervals to text.
 *
 * @param name names the file in errors
 * @param isUsed which columns to read; the others are null in every row, and damage in them is not noticed. Default: all
 * @throws {Error} if the file is damaged or cut off, or uses a feature of Parquet that is not supported
 */
export async function* parquetRecords(
  path: string,
  name: string,
  isUsed: (column: string) => boolean = () => true,
): AsyncGenerator<DataRecord, void, undefined> {
  const file = await open(path);
  try {
    const { size } = await file.stat();
    const footer = await readPart(name, 'its footer', () => readFooter(file, size));
    let start = 0;
    for (const group of footer.groups) {
      const columns = await readGroup(file, name, footer, group, start, isUsed);
      for (let i = 0; i < group.rows; i++) {
        const value = Object.fromEntries(columns.map(([column, values]) => [column, toJson(values?.[i])]));
        yield { value, at: { file: name, line: start + i + 1 } };
      }
      start += group.rows;
    }
  } finally {
    await file.close();
  }
}

type NamedColumn = readonly [name: string, values: DecodedArray | undefined];

/** The columns of a row group: one value per row, or undefined for a column that is not used. */
async function readGroup(
  file: FileHandle,
  name: string,
  { schema }: Footer,
  group: Group,
  start: number,
  isUsed: (column: string) => boolean,
): Promise<NamedColumn[]> {
  const compressed = group.columns.reduce((sum, column) => sum + column.end - column.start, 0);
  const rows = `rows ${start + 1} to ${start + group.rows}`;
  const budget = { left: maxDecompressed(compressed) };
  const columns: NamedColumn[] = [];
  for (const child of schema.children) {
    const column = child.element.name;
    if (group.rows === 0 || !isUsed(column)) {
      columns.push([column, undefined]);
      continue;
    }
    const values = await readPart(name, `column ${printable(JSON.stringify(column), 100)} of ${rows}`, async () => {
      if (group.rows > maxValues(compressed)) throw new Unsupported(`${group.rows} rows in ${compressed} bytes`);
      const leaves = new Map<string, DecodedArray>();
      for (const leaf of group.columns.filter(({ path }) => path[1] === child)) {
        const bytes = await readBytes(file, leaf.start, leaf.end);
        leaves.set(leaf.path.at(-1)!.path.join('.'), decodeColumn(bytes, leaf, budget));
      }
      if (child.children.length > 0) assembleNested(leaves, child, parsers);
      const values = leaves.get(column);
      if (values?.length !== group.rows) throw new Damaged(`${values?.length ?? 0} values for ${group.rows} rows`);
      return values;
    });
    columns.push([column, values]);
  }
  return columns;
}

const REWRITE =
  'Write the file again with smaller row groups and zstd, e.g. in Python: ' +
  'pyarrow.parquet.write_table(table, path, compression="zstd", row_group_size=10000).';

/** Reads a part of the file. Every error becomes one that names the file, the part, and what to do. */
async function readPart<T>(name: string, part: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof Unsupported) {
      throw fileError(name, `${error.message} (${part})`, 'a Parquet file that this version can read', REWRITE);
    }
    const { code } = error as NodeJS.ErrnoException;
    if (/^E[A-Z]+$/.test(code ?? '')) throw fileError(name, error, 'a readable file', 'Check the disk.');
    if (isOutOfMemory(error)) {
      const hint = 'Free memory, or write the file again with smaller row groups.';
      throw fileError(name, `too little memory (${part})`, 'a row group that fits in memory', hint);
    }
    // messages of the engine, such as a TypeError's, say nothing about the file
    const why = error instanceof Damaged ? ` (${error.message})` : '';
    throw fileError(name, new Error(`${part} unreadable${why}`, { cause: error }), 'a complete Parquet file', DAMAGED);
  }
}
