import { Damaged } from './faults';

const MAX_DEPTH = 32;

/**
 * Checks a structure of Thrift's compact protocol before hyparquet parses it: hyparquet trusts its lengths, so that a few
 * damaged bytes could make it run for minutes or fill the memory.
 *
 * @param maxValues the most values, in all nested structures together
 * @returns the offset after the structure
 * @throws {Damaged} if it is cut off, nested too deeply or has too many values
 */
export function endOfStruct(bytes: Uint8Array, start: number, maxValues: number): number {
  let at = start;
  let values = 0;
  const skip = (length: number) => {
    if (length > bytes.length - at) throw new Damaged('a structure that is cut off');
    at += length;
  };
  const byte = (): number => {
    skip(1);
    return bytes[at - 1]!;
  };
  const varint = (): number => {
    let value = 0;
    for (let i = 0; i < 10; i++) {
      const part = byte();
      value += (part & 127) * 2 ** (7 * i);
      if (part < 128) return value;
    }
    throw new Damaged('a number of more than 64 bits');
  };
  const list = (depth: number) => {
    const head = byte();
    const size = head >> 4 === 15 ? varint() : head >> 4;
    if (size > bytes.length - at) throw new Damaged('a list that is cut off'); // an element takes a byte or more
    const type = head & 15;
    for (let i = 0; i < size; i++) value(type <= 2 ? 3 : type, depth); // in a list a boolean takes a byte
  };
  const value = (type: number, depth: number) => {
    if (++values > maxValues) throw new Damaged(`a structure of more than ${maxValues} values`);
    if (depth > MAX_DEPTH) throw new Damaged(`structures nested more than ${MAX_DEPTH} deep`);
    if (type === 1 || type === 2) return; // a boolean in its field's head
    if (type === 3) skip(1);
    else if (type >= 4 && type <= 6) varint();
    else if (type === 7) skip(8);
    else if (type === 8) skip(varint());
    else if (type === 9) list(depth + 1);
    else if (type === 12) struct(depth + 1);
    else throw new Damaged(`a value of the unknown type ${type}`);
  };
  const struct = (depth: number) => {
    for (let head = byte(); (head & 15) !== 0; head = byte()) {
      if (head >> 4 === 0) varint(); // the field's number
      value(head & 15, depth);
    }
  };
  struct(0);
  return at;
}
