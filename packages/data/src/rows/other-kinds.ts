// Files that do not hold JSON rows, named for what they are.
import { printable } from '@wpo/internal/printable';
import { RowError } from './fields';

interface Kind {
  /** What the file is. */
  readonly found: string;
  readonly hint: string;
}

/** How a table is converted. */
const pandas = (read: string): string =>
  `Convert it to JSONL, e.g. in Python: pandas.${read}.to_json("rows.jsonl", orient="records", lines=True).`;

/** First characters, as Latin-1, that only one kind of file has. */
// biome-ignore format: one table
const BY_START: readonly (readonly [starts: readonly string[], found: string, hint: string])[] = [
  [['\x1f\x8b'], 'a gzip file', 'Decompress it with gunzip.'],
  [['\x28\xb5\x2f\xfd'], 'a zstd file', 'Decompress it with zstd -d.'],
  [['\xfd7zXZ\0'], 'an xz file', 'Decompress it with unxz.'],
  [['BZh'], 'a bzip2 file', 'Decompress it with bunzip2.'],
  [['7z\xbc\xaf'], 'a 7z file', 'Decompress it with 7z x.'],
  [['PK\x03\x04'], 'a zip file', 'Decompress it with unzip.'],
  [['\xd0\xcf\x11\xe0'], 'a spreadsheet of Excel 97', pandas('read_excel("FILE")')],
  [['PAR1'], 'a Parquet file', 'Convert it to JSONL, or pass its path, so that it is read as Parquet.'],
  [['ARROW1', '\xff\xff\xff\xff'], 'an Arrow file', 'Convert it to JSONL, or pass its path, so that it is read as Arrow.'],
  [['SQLite format 3'], 'an SQLite database', 'Export its table as JSONL.'],
  [['\x89HDF'], 'an HDF5 file', pandas('read_hdf("FILE")')],
  [['\x93NUMPY'], 'a NumPy file', 'Write its rows as JSONL.'],
  [['\x80\x02', '\x80\x03', '\x80\x04', '\x80\x05'], 'a Python pickle', pandas('read_pickle("FILE")')],
  [['%PDF-'], 'a PDF file', 'Pass a file of rows.'],
  [['\xff\xfe', '\xfe\xff', '{\0', '[\0', '\0{', '\0['], 'UTF-16 text', 'Save it as UTF-8 (iconv -f UTF-16 -t UTF-8).'],
  [['version https://git-lfs'], 'a Git LFS pointer in place of the file', 'Download the file itself: git lfs pull.'],
  [['<!DOCTYPE', '<!doctype', '<html', '<HTML', '<?xml'], 'a web page or XML', 'Download the file itself, not the page that shows it.'],
];

const BY_NAME: readonly (readonly [name: RegExp, found: string, hint: string])[] = [
  [/\.(xlsx|xlsm|ods)$/i, 'a spreadsheet', pandas('read_excel("FILE")')],
  [/\.(tsv|tab)$/i, 'a TSV file', pandas('read_csv("FILE", sep="\\t")')],
  [/\.csv$/i, 'a CSV file', pandas('read_csv("FILE")')],
  [/\.(arrow|feather)$/i, 'an Arrow file', pandas('read_feather("FILE")')],
  [/\.(pkl|pickle)$/i, 'a Python pickle', pandas('read_pickle("FILE")')],
];

/**
 * Refuses a file that does not hold JSON rows, whatever is done with bad rows: read as JSON, each of its lines would be one.
 *
 * @param head the first bytes of the file: its first line, or more
 * @throws {RowError}
 */
export const refuseOtherKinds = (head: Uint8Array, file: string): void =>
  refuse(kindOf(head, file), file, 'JSONL or JSON as UTF-8 text');

/** Refuses a file named `.csv` or `.tsv` whose first bytes are those of another kind. @throws {RowError} */
export const refuseOtherTables = (head: Uint8Array, file: string): void =>
  refuse(kindByStart(latin1(head)), file, 'CSV as UTF-8 text');

function refuse(kind: Kind | undefined, file: string, expected: string): void {
  if (kind === undefined) return;
  throw new RowError({ file, line: 1 }, { expected, found: kind.found, hint: hintFor(kind.hint, file) });
}

const latin1 = (head: Uint8Array) => new TextDecoder('latin1').decode(head.subarray(0, MAX_LINE));

function kindByStart(start: string): Kind | undefined {
  const kind = BY_START.find(([starts]) => starts.some((first) => start.startsWith(first)));
  return kind && { found: kind[1], hint: kind[2] };
}

const hintFor = (hint: string, file: string) =>
  hint.replace('FILE', () => file.slice(Math.max(file.lastIndexOf('/'), file.lastIndexOf('\\')) + 1));

function nameKind(file: string): Kind | undefined {
  const kind = BY_NAME.find(([name]) => name.test(file.replace(/\.(gz|zst)$/i, '')));
  return kind && { found: kind[1], hint: kind[2] };
}

/** Tables among files, such as spreadsheets, and how to convert them, to complete "found …". Undefined if there are none. */
export function otherTables(files: readonly string[]): string | undefined {
  const tables = files.flatMap((file) => {
    const kind = nameKind(file);
    return kind === undefined ? [] : [{ file, found: kind.found, hint: hintFor(kind.hint, file) }];
  });
  const [first] = tables;
  if (first === undefined) return undefined;
  if (tables.length === 1) return `${first.found} (${printable(first.file, 80)}). ${first.hint}`;
  const shown = tables.slice(0, 3).map(({ file }) => printable(file, 80));
  const more = tables.length > shown.length ? ` and ${tables.length - shown.length} more` : '';
  return `files of other kinds (${shown.join(', ')}${more}). ${first.hint.replace('Convert it', 'Convert each')}`;
}

function kindOf(head: Uint8Array, file: string): Kind | undefined {
  const start = latin1(head);
  const byName = nameKind(file);
  const byStart = kindByStart(start);
  const found = byStart?.found === 'a zip file' ? (byName ?? byStart) : (byStart ?? byName);
  if (found !== undefined && !(found === byName && looksLikeJson(start))) return found;
  const line = /^(?:\xef\xbb\xbf)?\s*(.*)/.exec(start)![1]!.trimEnd();
  if (isTableHead(line, '\t')) return { found: 'a TSV file', hint: 'Give it a name that ends in .tsv.' };
  if (isTableHead(line, ',') || isTableHead(line, ';'))
    return { found: 'a CSV file', hint: 'Give it a name that ends in .csv.' };
  if (line === '{') {
    const hint = 'Write each row on one line (jq -c . FILE), or put all rows into one JSON array.';
    return { found: 'JSON objects over several lines', hint };
  }
  return undefined;
}

/** As much of the first line as is looked at. */
const MAX_LINE = 4096;

export const looksLikeJson = (start: string) => /^(?:\xef\xbb\xbf)?\s*([{[]|$)/.test(start);

/** Whether a line has the names of columns: words without the characters of JSON. */
function isTableHead(line: string, separator: string): boolean {
  const cells = line.split(separator).map((cell) => cell.trim().replace(/^"(.*)"$/, '$1'));
  return (
    cells.length > 1 && cells.every((cell) => /^[\p{L}_][\p{L}\d_ .()-]{0,60}$|^$/u.test(cell)) && /\p{L}/u.test(line)
  );
}
