import type { FileHandle } from 'node:fs/promises';
import { type FileMetaData, parquetMetadata, parquetSchema, type RowGroup, type SchemaTree } from 'hyparquet';
import { Damaged, Unsupported } from './faults';
import { MAX_CHUNK, MAX_FOOTER, maxValues } from './limits';
import { endOfStruct } from './thrift';
import { parsers } from './values';

/** A column of one row group: a leaf of the schema. */
export interface Column {
  readonly meta: NonNullable<RowGroup['columns'][number]['meta_data']>;
  /** From the root of the schema to the leaf. */
  readonly path: readonly SchemaTree[];
  /** Offsets of its bytes in the file. */
  readonly start: number;
  readonly end: number;
}

export interface Group {
  readonly rows: number;
  /** In the order of the schema's leaves. */
  readonly columns: readonly Column[];
}

export interface Footer {
  readonly schema: SchemaTree;
  readonly groups: readonly Group[];
}

const MAX_SCHEMA_DEPTH = 64;
const TAIL = 8; // the footer's length, and the magic bytes

/** Reads a Parquet file's footer and checks that its parts fit together. */
export async function readFooter(file: FileHandle, size: number): Promise<Footer> {
  const tail = size < TAIL + 4 ? Buffer.alloc(0) : await readBytes(file, size - TAIL, size);
  const magic = tail.toString('latin1', 4);
  if (magic === 'PARE') throw new Unsupported('an encrypted file');
  if (magic !== 'PAR1') throw new Damaged('no "PAR1" at its end');
  const length = tail.readUInt32LE(0);
  if (length > size - TAIL - 4) throw new Damaged(`a footer of ${length} bytes in a file of ${size}`);
  if (length > MAX_FOOTER) throw new Unsupported(`a footer of ${length} bytes, more than ${MAX_FOOTER}`);
  const bytes = await readBytes(file, size - TAIL - length, size);
  if (endOfStruct(bytes, 0, MAX_FOOTER / 8) > length) throw new Damaged('a footer that is cut off');
  const metadata = parquetMetadata(bytes, { geoparquet: false, parsers });
  return checkFooter(metadata, size - TAIL - length);
}

/** Reads a range of the file into a buffer of its own. */
export async function readBytes(file: FileHandle, start: number, end: number): Promise<Buffer<ArrayBuffer>> {
  const bytes = Buffer.from(new ArrayBuffer(end - start)); // not from Node's pool: hyparquet views its whole buffer
  let at = 0;
  while (at < bytes.length) {
    const { bytesRead } = await file.read(bytes, at, bytes.length - at, start + at);
    if (bytesRead === 0) throw new Damaged(`the file’s end at byte ${start + at}`);
    at += bytesRead;
  }
  return bytes;
}

/** @param end offset of the footer, where the columns' bytes end */
function checkFooter(metadata: FileMetaData, end: number): Footer {
  checkSchema(metadata);
  const schema = parquetSchema(metadata);
  const leaves = leavesOf(schema, []);
  const groups = metadata.row_groups.map((group) => checkGroup(group, leaves, end));
  const rows = groups.reduce((sum, group) => sum + group.rows, 0);
  if (rows !== Number(metadata.num_rows))
    throw new Damaged(
      `${rows} rows in its row groups instead of the ${Number(metadata.num_rows)} rows that its footer declares`,
    );
  if (rows > maxValues(end)) throw new Unsupported(`${rows} rows in ${end} bytes`);
  return { schema, groups };
}

/** Checks that the list of elements is one tree, and not too deep. */
function checkSchema({ schema }: FileMetaData): void {
  const open: number[] = []; // missing children of each element from the root to the current one
  for (const [i, { num_children = 0, name }] of schema.entries()) {
    const hasPlace = i === 0 ? num_children > 0 || schema.length === 1 : open.length > 0;
    if (!hasPlace || typeof name !== 'string') throw new Damaged('a schema that is not a tree');
    if (!Number.isInteger(num_children) || num_children < 0) throw new Damaged('a schema without numbers of columns');
    if (open.length > 0) open[open.length - 1]! -= 1;
    if (num_children > 0) open.push(num_children);
    while (open.at(-1) === 0) open.pop();
    if (open.length > MAX_SCHEMA_DEPTH) throw new Unsupported(`columns nested more than ${MAX_SCHEMA_DEPTH} deep`);
  }
  if (schema.length === 0 || open.length > 0) throw new Damaged('a schema that is cut off');
}

function leavesOf(node: SchemaTree, above: readonly SchemaTree[]): (readonly SchemaTree[])[] {
  const path = [...above, node];
  if (node.children.length > 0) return node.children.flatMap((child) => leavesOf(child, path));
  return above.length === 0 ? [] : [path]; // a schema without columns has only its root
}

function checkGroup({ columns, num_rows }: RowGroup, leaves: readonly (readonly SchemaTree[])[], end: number): Group {
  const rows = Number(num_rows);
  if (!Number.isSafeInteger(rows) || rows < 0) throw new Damaged('a row group without a number of rows');
  if (columns.length !== leaves.length)
    throw new Damaged(`a row group of ${columns.length} columns instead of ${leaves.length}`);
  return { rows, columns: columns.map((column, i) => checkColumn(column, leaves[i]!, end)) };
}

function checkColumn(
  { meta_data: meta, file_path, crypto_metadata }: RowGroup['columns'][number],
  path: readonly SchemaTree[],
  end: number,
): Column {
  if (file_path) throw new Unsupported('columns in other files');
  if (crypto_metadata !== undefined || meta === undefined) throw new Unsupported('encrypted columns');
  const leaf = path.at(-1)!;
  const found = meta.path_in_schema.join('.');
  if (found !== leaf.path.join('.') || meta.type !== leaf.element.type)
    throw new Damaged(`a column that is not in its schema`);
  const start = Number(meta.dictionary_page_offset || meta.data_page_offset);
  const size = Number(meta.total_compressed_size);
  if (!(Number.isSafeInteger(start) && start >= 4 && size >= 0 && start + size <= end)) {
    throw new Damaged(`a column in bytes ${start} to ${start + size} of ${end}`);
  }
  if (size > MAX_CHUNK) throw new Unsupported(`a row group with ${size} bytes in one column`);
  if (!(Number(meta.num_values) >= 0)) throw new Damaged('a column without a number of values');
  return { meta, path, start, end: start + size };
}
