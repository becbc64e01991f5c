// Conversion of Parquet's types to JSON's.
import type { DecodedArray, ParquetParsers, SchemaElement } from 'hyparquet';
import { Damaged, Unsupported } from './faults';

const lenient = new TextDecoder('utf-8', { ignoreBOM: true });
const strict = new TextDecoder('utf-8', { ignoreBOM: true, fatal: true });

/** ISO 8601. A time that JavaScript cannot represent, such as an infinite one, stays its number. */
function timeText(milliseconds: number, original: number | bigint): string {
  const date = new Date(milliseconds);
  return Number.isNaN(date.getTime()) ? String(original) : date.toISOString();
}

type Bytes = Uint8Array | undefined;

/** How hyparquet converts values. Times become text. */
const asJson = {
  timestampFromMilliseconds: (time: bigint) => timeText(Number(time), time),
  timestampFromMicroseconds: (time: bigint) => timeText(Number(time / 1000n), time),
  timestampFromNanoseconds: (time: bigint) => timeText(Number(time / 1_000_000n), time),
  dateFromDays: (days: number) => timeText(days * 86_400_000, days),
  stringFromBytes: (bytes: Bytes) => bytes && lenient.decode(bytes),
  jsonFromBytes: (bytes: Bytes) => bytes && parseJson(strictText(bytes)),
  geometryFromBytes: (bytes: Bytes) => bytes,
  geographyFromBytes: (bytes: Bytes) => bytes,
  uuidFromBytes: (bytes: Bytes) => bytes && Buffer.from(bytes).toString('hex').replace(UUID, '$1-$2-$3-$4-$5'),
};
const UUID = /^(.{8})(.{4})(.{4})(.{4})(.{12})$/;

export const parsers = asJson as unknown as ParquetParsers; // its types expect dates

/** For columns that are declared as text: bytes that are not UTF-8 are damage. */
export const textParsers: ParquetParsers = {
  ...parsers,
  stringFromBytes: (bytes: Bytes) => bytes && strictText(bytes),
};

export const isText = ({ converted_type, logical_type }: SchemaElement) =>
  converted_type === 'UTF8' || logical_type?.type === 'STRING';

function strictText(bytes: Uint8Array): string {
  try {
    return strict.decode(bytes);
  } catch {
    throw new Damaged('text that is not UTF-8');
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new Damaged('a JSON value that is not JSON');
  }
}

/** The values of types that hyparquet does not convert; undefined for all other types. */
export function convertSpecial(data: DecodedArray, { converted_type }: SchemaElement): DecodedArray | undefined {
  if (converted_type === 'BSON') throw new Unsupported('BSON values');
  if (converted_type !== 'INTERVAL') return undefined;
  return Array.from(data as ArrayLike<Uint8Array>, intervalText);
}

/** A duration in ISO 8601, from three little-endian numbers: months, days and milliseconds. */
function intervalText(bytes: Uint8Array): string {
  if (bytes?.length !== 12) throw new Damaged('an interval that has not 12 bytes');
  const [months, days, milliseconds] = [0, 4, 8].map((at) => Buffer.from(bytes).readUInt32LE(at));
  return `P${months}M${days}DT${milliseconds! / 1000}S`;
}

/** 64-bit integers become numbers, or text if a number is not exact; absent values become null. */
export function toJson(value: unknown): unknown {
  if (typeof value === 'bigint') {
    const number = Number(value);
    return Number.isSafeInteger(number) ? number : String(value);
  }
  if (value === undefined || value === null) return null;
  if (Array.isArray(value)) return value.map(toJson);
  if (typeof value !== 'object' || ArrayBuffer.isView(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, toJson(inner)]));
}
