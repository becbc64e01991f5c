import { splitRows } from '../rows/json-stream';
import { type Place, RowError } from '../rows/row-error';

/**
 * Reads a whole file in alpaca_eval's layout: a JSON array of rows, or one row a line.
 *
 * @param parse `parseModelOutput`, `parseAnnotation` or `parseInstruction`
 * @param file what errors call the source
 * @throws {RowError} on the first bad row, and where there is none
 */
export async function readAlpacaFrom<T>(
  chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  file: string,
  parse: (row: unknown, at: Place) => T,
): Promise<T[]> {
  const rows: T[] = [];
  for await (const { line, bytes } of splitRows(chunks, { file, format: 'auto', maxRowBytes: 2 ** 30 })) {
    const at = { file, line };
    rows.push(parse(parseJson(bytes!, at), at));
  }
  if (rows.length > 0) return rows;
  throw new RowError(
    { file, line: 1 },
    { found: 'no rows', wanted: 'a JSON array of objects, or one a line', mend: 'Check the path.' },
  );
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function parseJson(bytes: Uint8Array, at: Place): unknown {
  try {
    return JSON.parse(utf8.decode(bytes));
  } catch (error) {
    throw new RowError(
      at,
      {
        found: `what is no JSON text (${(error as Error).message})`,
        wanted: 'an object',
        mend: 'JSON has no NaN: write null. The text must be whole, and in UTF-8.',
      },
      { cause: error },
    );
  }
}
