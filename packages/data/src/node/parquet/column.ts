import { type DecodedArray, flatten, type SchemaTree } from 'hyparquet';
import { assembleLists } from 'hyparquet/src/assemble.js';
import { convert } from 'hyparquet/src/convert.js';
import { readPlain } from 'hyparquet/src/plain.js';
import { getMaxDefinitionLevel, getMaxRepetitionLevel } from 'hyparquet/src/schema.js';
import { decompressPage } from './codecs';
import { decodeRuns, decodeValues, plainSize } from './encodings';
import { Damaged, Unsupported } from './faults';
import type { Column } from './footer';
import { maxValues } from './limits';
import { isCount, type Page, pagesOf } from './pages';
import { convertSpecial, isText, parsers, textParsers } from './values';

/** The bytes to which the pages of a row group may still decompress. */
export interface Budget {
  left: number;
}

/**
 * Decodes a column of a row group: one value per row, nested lists as arrays. All work is synchronous, so no error is
 * thrown where nobody waits for it.
 *
 * @param chunk the column's bytes, in a buffer of their own
 * @throws {Damaged} or {Unsupported}; other errors come from hyparquet, and mean damage too
 */
export function decodeColumn(chunk: Uint8Array, column: Column, budget: Budget): DecodedArray {
  const total = Number(column.meta.num_values);
  if (total > maxValues(chunk.length)) throw new Unsupported(`${total} values in ${chunk.length} bytes`);
  const levels = levelsOf(column.path);
  let dictionary: DecodedArray | undefined;
  const chunks: DecodedArray[] = [];
  let seen = 0;
  for (const page of total === 0 ? [] : pagesOf(chunk)) {
    const { type } = page.header;
    if (type === 'DICTIONARY_PAGE') dictionary = readDictionary(page, column, budget);
    if (type !== 'DATA_PAGE' && type !== 'DATA_PAGE_V2') {
      if (type === undefined) throw new Damaged('a page of an unknown type');
      continue; // an index page, which readers may ignore
    }
    const { count, encoding, definition, repetition, body } = splitPage(page, column, levels, budget);
    seen += count;
    if (seen > total) throw new Damaged(`more values than the ${total} that its footer declares`);
    if (count > 0) {
      const present =
        levels.definition === 0 ? count : definition.reduce((n, l) => n + Number(l === levels.definition), 0);
      const values = decodeValues(body, encoding, present, column.path.at(-1)!.element, dictionary, budget.left);
      const converted = encoding?.endsWith('_DICTIONARY') ? values : toRich(values, column.path);
      const last = chunks.at(-1);
      const output = Array.isArray(last) ? last : [];
      const rows = assembleLists(output, [...definition], [...repetition], converted, [...column.path]);
      if (rows !== last) chunks.push(rows);
    }
    if (seen === total) break;
  }
  if (seen < total) throw new Damaged(`${seen} values instead of the ${total} that its footer declares`);
  return flatten(chunks);
}

/** The highest definition and repetition level of a column. */
interface Levels {
  readonly definition: number;
  readonly repetition: number;
}

const levelsOf = (path: readonly SchemaTree[]): Levels => ({
  definition: getMaxDefinitionLevel([...path]),
  repetition: getMaxRepetitionLevel([...path]),
});

/** Converts to text, times and so on. */
function toRich(values: DecodedArray, path: readonly SchemaTree[]): DecodedArray {
  const { element } = path.at(-1)!;
  const decoder = { element, schemaPath: [...path], parsers: isText(element) ? textParsers : parsers };
  return convertSpecial(values, element) ?? convert(values, decoder as unknown as Parameters<typeof convert>[1]);
}

function readDictionary({ header, bytes }: Page, { meta, path }: Column, budget: Budget): DecodedArray {
  const count = header.dictionary_page_header?.num_values;
  if (!isCount(count)) throw new Damaged('a dictionary without a number of values');
  const body = decompress(bytes, header.uncompressed_page_size, meta.codec, budget);
  const { element } = path.at(-1)!;
  if (count * plainSize(element) > body.length)
    throw new Damaged(`a dictionary of ${count} values in ${body.length} bytes`);
  return toRich(readPlain({ view: viewOf(body), offset: 0 }, element.type!, count, element.type_length), path);
}

interface PageParts {
  /** Number of values, null and empty lists included. */
  readonly count: number;
  readonly encoding: string | undefined;
  readonly definition: Uint32Array;
  readonly repetition: Uint32Array;
  /** The encoded values that are not null. */
  readonly body: Uint8Array;
}

function splitPage(page: Page, column: Column, levels: Levels, budget: Budget): PageParts {
  return page.header.type === 'DATA_PAGE_V2'
    ? splitV2(page, column, levels, budget)
    : splitV1(page, column, levels, budget);
}

/** Levels and values are compressed together, each kind of level after its length. */
function splitV1({ header, bytes }: Page, { meta }: Column, levels: Levels, budget: Budget): PageParts {
  const count = checkCount(header.data_page_header?.num_values, meta);
  const body = decompress(bytes, header.uncompressed_page_size, meta.codec, budget);
  const { encoding, definition_level_encoding, repetition_level_encoding } = header.data_page_header!;
  let at = 0;
  const next = (max: number, levelEncoding: string | undefined) => {
    if (max === 0 || count === 0) return new Uint32Array(0);
    if (levelEncoding === 'BIT_PACKED') throw new Unsupported('levels in the encoding BIT_PACKED');
    if (body.length - at < 4) throw new Damaged('a page without levels');
    const start = at + 4;
    at = start + viewOf(body).getUint32(at, true);
    return decodeLevels(body, start, at, max, count);
  };
  const repetition = next(levels.repetition, repetition_level_encoding);
  const definition = next(levels.definition, definition_level_encoding);
  return { count, encoding, definition, repetition, body: body.slice(at) };
}

/** Levels are not compressed; their lengths are in the header. */
function splitV2({ header, bytes }: Page, { meta }: Column, levels: Levels, budget: Budget): PageParts {
  const v2 = header.data_page_header_v2;
  const count = checkCount(v2?.num_values, meta);
  const { encoding, is_compressed } = v2!;
  const [repetitionSize, definitionSize] = [v2!.repetition_levels_byte_length, v2!.definition_levels_byte_length];
  const start = repetitionSize + definitionSize;
  const length = header.uncompressed_page_size - start;
  if (!isCount(repetitionSize) || !isCount(definitionSize) || start > bytes.length || length < 0)
    throw new Damaged('a page with levels of a wrong length');
  const stored = bytes.subarray(start);
  const codec = is_compressed === false ? 'UNCOMPRESSED' : meta.codec;
  return {
    count,
    encoding,
    repetition: decodeLevels(bytes, 0, repetitionSize, levels.repetition, count),
    definition: decodeLevels(bytes, repetitionSize, start, levels.definition, count),
    body: decompress(stored, length, codec, budget).slice(),
  };
}

function checkCount(count: unknown, { num_values }: Column['meta']): number {
  if (!isCount(count) || count > Number(num_values)) throw new Damaged('a page with more values than its column');
  return count;
}

function decodeLevels(bytes: Uint8Array, start: number, end: number, max: number, count: number): Uint32Array {
  if (max === 0) return new Uint32Array(0);
  if (end > bytes.length) throw new Damaged('levels that are cut off');
  const levels = decodeRuns(bytes.subarray(start, end), 32 - Math.clz32(max), count);
  if (levels.some((level) => level > max)) throw new Damaged('a level above the highest');
  return levels;
}

function decompress(page: Uint8Array, length: number, codec: string | undefined, budget: Budget): Uint8Array {
  budget.left -= length;
  if (budget.left < 0) throw new Unsupported('a row group that decompresses to far more bytes than its text can have');
  return decompressPage(page, length, codec);
}

export const viewOf = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
