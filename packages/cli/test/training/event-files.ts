import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** A point of a curve in an event file. */
export interface Point {
  readonly tag: string;
  readonly step: number;
  readonly value: number;
}

/** The points in a folder's event files: TFRecords with `Event` messages of tensorflow/core/util/event.proto. */
export const pointsIn = (folder: string): Point[] =>
  readdirSync(folder).flatMap((name) => pointsOf(join(folder, name)));

function pointsOf(path: string): Point[] {
  const bytes = readFileSync(path);
  const points: Point[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = Number(bytes.readBigUInt64LE(at)); // and a checksum of 4 bytes before and after the message
    const event = fields(bytes.subarray(at + 12, at + 12 + length));
    at += length + 16;
    for (const summary of event.get(5) ?? []) {
      for (const value of fields(summary as Buffer).get(1) ?? []) {
        const parts = fields(value as Buffer);
        const tag = (parts.get(1)![0] as Buffer).toString();
        const number = (parts.get(2)![0] as Buffer).readFloatLE();
        points.push({ tag, step: Number(event.get(2)?.[0] ?? 0), value: number });
      }
    }
  }
  return points;
}

/** The fields of a message of protocol buffers by their numbers: varints as bigint, others as bytes. */
function fields(bytes: Buffer): Map<number, (Buffer | bigint)[]> {
  const found = new Map<number, (Buffer | bigint)[]>();
  let at = 0;
  const varint = () => {
    let [value, shift] = [0n, 0n];
    for (;;) {
      const byte = bytes[at++]!;
      value |= BigInt(byte & 127) << shift;
      shift += 7n;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const key = Number(varint());
    const type = key & 7;
    const size = type === 1 ? 8 : type === 5 ? 4 : type === 2 ? Number(varint()) : 0;
    const value = type === 0 ? varint() : bytes.subarray(at, at + size);
    at += size;
    found.set(key >> 3, [...(found.get(key >> 3) ?? []), value]);
  }
  return found;
}
