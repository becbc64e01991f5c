import { readFileSync } from 'node:fs';
import { fc, test as prop } from '@fast-check/vitest';
import { describe, expect, test } from 'vitest';
import {
  headerByteLength,
  layoutHeader,
  parseHeader,
  type SafetensorsDtype,
  SafetensorsError,
  type TensorSpec,
} from '../src/safetensors';

const fixture = (path: string) => new Uint8Array(readFileSync(new URL(`./fixtures/${path}`, import.meta.url)));

/** A file's beginning with `header` as its JSON, and the size of a file with `dataBytes` after it. */
function withHeader(header: unknown, dataBytes = 0) {
  const text = new TextEncoder().encode(typeof header === 'string' ? header : JSON.stringify(header));
  const bytes = new Uint8Array(8 + text.length);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(text.length), true);
  bytes.set(text, 8);
  return [bytes, bytes.length + dataBytes] as const;
}

const parse = (header: unknown, dataBytes = 0) => parseHeader(...withHeader(header, dataBytes), 'x.safetensors');
const f32 = (shape: unknown, begin: unknown, end: unknown) => ({ dtype: 'F32', shape, data_offsets: [begin, end] });

describe("a header by Python's safetensors", () => {
  test('gives names, types, shapes, places and metadata', () => {
    const bytes = fixture('safetensors/mixed.safetensors');
    const { tensors, metadata } = parseHeader(bytes, bytes.length, 'mixed');
    const data = headerByteLength(bytes, bytes.length, 'mixed');
    expect(Object.fromEntries(metadata)).toEqual({ format: 'pt', note: 'café' });
    expect([...tensors]).toEqual([
      ['count', { dtype: 'I64', shape: [2], offset: data, byteLength: 16 }],
      ['empty', { dtype: 'F32', shape: [0, 4], offset: data + 16, byteLength: 0 }],
      ['full', { dtype: 'F32', shape: [2], offset: data + 16, byteLength: 8 }],
      ['scalar', { dtype: 'F32', shape: [], offset: data + 24, byteLength: 4 }],
      ['brain', { dtype: 'BF16', shape: [3], offset: data + 28, byteLength: 6 }],
      ['half', { dtype: 'F16', shape: [2, 3], offset: data + 34, byteLength: 12 }],
    ]);
  });

  test('is laid out by us byte for byte, given the same tensors', () => {
    const bytes = fixture('golden/tiny/model.safetensors');
    const { tensors } = parseHeader(bytes, bytes.length, 'golden');
    const ours = layoutHeader([...tensors].map(([name, { dtype, shape }]) => ({ name, dtype, shape })));
    expect(ours.bytes).toEqual(bytes.subarray(0, ours.bytes.length));
    expect(ours.fileSize).toBe(bytes.length);
  });
});

describe('parseHeader refuses', () => {
  const cases: [what: string, header: unknown, dataBytes: number, message: string][] = [
    ['a header that is no object', '[1]', 0, 'the header begins with "[1]"; wanted a JSON object'],
    ['leading spaces', ' {}', 0, 'begins with " {}"'],
    ['broken JSON', '{"a":', 0, 'is not JSON'],
    ['an entry that is no object', { a: 3 }, 0, 'tensor "a": is 3; wanted an object'],
    [
      'a type it does not know',
      { a: { dtype: 'F31', shape: [1], data_offsets: [0, 4] } },
      4,
      'dtype is "F31"; wanted one of',
    ],
    [
      'a type named like a built-in',
      { a: { dtype: 'toString', shape: [], data_offsets: [0, 4] } },
      4,
      'dtype is "toString"',
    ],
    ['a missing shape', { a: { dtype: 'F32', data_offsets: [0, 4] } }, 4, 'shape is missing; wanted a list'],
    ['a negative size', { a: f32([-1, -4], 0, 16) }, 16, 'shape is [-1,-4]; wanted a list of whole numbers from 0'],
    ['a size that is no whole number', { a: f32([1.5], 0, 6) }, 6, 'shape is [1.5]'],
    ['a size beyond exact numbers', '{"a":{"dtype":"F32","shape":[1e999],"data_offsets":[0,4]}}', 4, 'shape is [null]'],
    [
      'sizes whose product is beyond exact numbers',
      { a: f32([2 ** 30, 2 ** 30], 0, 4) },
      4,
      'takes 4611686018427388000 bytes',
    ],
    ['one offset', { a: { dtype: 'F32', shape: [1], data_offsets: [4] } }, 4, 'data_offsets is [4]; wanted two'],
    ['offsets as text', { a: f32([1], '0', '4') }, 4, 'data_offsets is ["0","4"]'],
    ['an end before the beginning', { a: f32([1], 4, 0) }, 4, 'data_offsets span -4; wanted 4 bytes'],
    [
      'fewer bytes than the shape takes',
      { a: f32([2, 3], 0, 20) },
      20,
      'data_offsets span 20; wanted 24 bytes, as F32 [2,3] takes',
    ],
    [
      'a hole',
      { a: f32([1], 0, 4), b: f32([1], 8, 12) },
      12,
      'tensor "b" begins at byte 8 of the data; wanted 4, where tensor "a" ends: the data may hold no holes',
    ],
    [
      'a hole before the first',
      { a: f32([1], 4, 8) },
      8,
      'tensor "a" begins at byte 4 of the data; wanted 0, where the header ends',
    ],
    [
      'an overlap',
      { a: f32([2], 0, 8), b: f32([2], 4, 12) },
      12,
      'tensor "b" begins at byte 4 of the data; wanted 8, where tensor "a" ends: the data may hold no overlaps',
    ],
    ['the same bytes twice', { a: f32([1], 0, 4), b: f32([1], 0, 4) }, 4, 'no overlaps'],
    ['a file that ends early', { a: f32([4], 0, 16) }, 12, 'It is cut short'],
    ['bytes after the last tensor', { a: f32([1], 0, 4) }, 5, 'belongs to no tensor'],
    ['bytes without any tensor', {}, 1, 'where the header ends. What follows belongs to no tensor'],
    [
      'a name given twice',
      `{"a":${JSON.stringify(f32([0], 0, 0))},"a":${JSON.stringify(f32([0], 0, 0))}}`,
      0,
      'gives "a" twice',
    ],
    ['a name given twice in other spelling', '{"a":1,"\\u0061" :2}', 0, 'gives "a" twice'],
    [
      'a type given twice',
      '{"a":{"dtype":"F16","dtype":"BF16","shape":[1],"data_offsets":[0,2]}}',
      2,
      'gives "dtype" twice',
    ],
    ['metadata that is no object', { __metadata__: [] }, 0, '__metadata__ is []; wanted an object of text'],
    ['metadata that is no text', { __metadata__: { step: 3 } }, 0, '__metadata__ "step" is 3; wanted text'],
    ['deep nesting', `{"a":${'['.repeat(1e6)}`, 0, 'nests 4 deep; wanted at most 3'],
  ];
  test.each(cases)('%s', (_, header, dataBytes, message) => {
    const run = () => parse(header, dataBytes);
    expect(run).toThrow(SafetensorsError);
    expect(run).toThrow(message);
    expect(run).toThrow('x.safetensors');
  });

  test('bytes that are not UTF-8', () => {
    const [bytes, size] = withHeader('{"a":1}');
    bytes[10] = 0xff;
    expect(() => parseHeader(bytes, size, 'x')).toThrow('x: the header is not UTF-8 text');
  });

  test('a file too short for a length, and a length beyond the file or beyond 100 MB', () => {
    expect(() => parseHeader(new Uint8Array(7), 7, 'x')).toThrow('x: holds 7 bytes; wanted at least 8');
    const [bytes] = withHeader('{}');
    expect(() => parseHeader(bytes, 9, 'x')).toThrow("x: the header's length is 2 bytes; wanted at most 1");
    new DataView(bytes.buffer).setBigUint64(0, 2n ** 64n - 1n, true);
    expect(() => headerByteLength(bytes, 10, 'x')).toThrow('is 18446744073709551615 bytes; wanted at most 2');
    new DataView(bytes.buffer).setBigUint64(0, 100_000_001n, true);
    expect(() => headerByteLength(bytes, 2 ** 40, 'x')).toThrow('is 100000001 bytes; wanted at most 100000000');
    new DataView(bytes.buffer).setBigUint64(0, 100_000_000n, true);
    expect(headerByteLength(bytes, 2 ** 40, 'x')).toBe(100_000_008);
    expect(() => parseHeader(bytes, 2 ** 40, 'x')).toThrow('x: 10 bytes given; wanted 100000008');
  });

  test('a Git LFS pointer, saying what it is', () => {
    const pointer = new TextEncoder().encode('version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n');
    expect(() => parseHeader(pointer, pointer.length, 'x')).toThrow('git lfs pull');
  });
});

describe('parseHeader takes', () => {
  test('entries in any order, padding, scalars and empty tensors', () => {
    const header = { b: f32([1], 4, 8), e: f32([0, 2 ** 52], 4, 4), a: f32([], 0, 4) };
    const { tensors } = parse(`${JSON.stringify(header)}   `, 8);
    expect([...tensors.keys()]).toEqual(['a', 'e', 'b']);
  });

  test("names that are built-ins' as names and nothing more", () => {
    const names = ['__proto__', 'constructor', 'toString', 'hasOwnProperty'];
    const fields = names.map((name, i) => `"${name}":${JSON.stringify(f32([1], 4 * i, 4 * i + 4))}`);
    const { tensors, metadata } = parse(`{"__metadata__":{"__proto__":"m"},${fields.join()}}`, 16);
    expect([...tensors.keys()]).toEqual(names);
    expect([...metadata]).toEqual([['__proto__', 'm']]);
    expect(Object.hasOwn(Object.prototype, 'dtype')).toBe(false);
  });
});

describe('layoutHeader', () => {
  test('puts wider types first, keeps the order else, and pads to 8 bytes', () => {
    const { bytes, header, fileSize } = layoutHeader([
      { name: 'a', dtype: 'BF16', shape: [3] },
      { name: 'b', dtype: 'F32', shape: [2, 2] },
      { name: 'c', dtype: 'BF16', shape: [1] },
    ]);
    const text = new TextDecoder().decode(bytes.subarray(8));
    expect(text.trimEnd()).toBe(
      '{"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},' +
        '"a":{"dtype":"BF16","shape":[3],"data_offsets":[16,22]},"c":{"dtype":"BF16","shape":[1],"data_offsets":[22,24]}}',
    );
    expect(bytes.length % 8).toBe(0);
    expect([...header.tensors.values()].map((t) => t.offset - bytes.length)).toEqual([0, 16, 22]);
    expect(fileSize).toBe(bytes.length + 24);
  });

  test("refuses a name given twice, the metadata's name, and shapes that are none", () => {
    const one = { name: 'a', dtype: 'F32', shape: [1] } as const;
    expect(() => layoutHeader([one, one])).toThrow('two tensors are named "a"');
    expect(() => layoutHeader([{ ...one, name: '__metadata__' }])).toThrow('may not be named "__metadata__"');
    expect(() => layoutHeader([{ ...one, shape: [1.5] }])).toThrow('tensor "a": shape is [1.5]');
  });

  const dtypes: SafetensorsDtype[] = ['F64', 'F32', 'BF16', 'F16', 'U8', 'BOOL'];
  const spec: fc.Arbitrary<TensorSpec> = fc.record({
    dtype: fc.constantFrom(...dtypes),
    shape: fc.array(fc.nat(50), { maxLength: 4 }),
  });
  const names = fc.oneof(fc.string({ unit: 'grapheme' }), fc.constantFrom('__proto__', 'constructor', '0'));
  const named = fc.uniqueArray(
    names.filter((name) => name !== '__metadata__'),
    { maxLength: 8 },
  );

  prop.prop([
    named.chain((list) => fc.tuple(...list.map((name) => spec.map((s) => ({ name, ...s }))))),
    fc.dictionary(fc.string(), fc.string()),
  ])('is read back as it was given', (entries, metadata) => {
    const { bytes, header, fileSize } = layoutHeader(entries, metadata);
    const read = parseHeader(bytes, fileSize, 'x');
    // empty tensors lie where another begins: only their order among themselves is free
    const byName = (map: typeof read.tensors) => [...map].sort(([a], [b]) => (a < b ? -1 : 1));
    expect(byName(read.tensors)).toEqual(byName(header.tensors));
    expect(new Map(read.metadata)).toEqual(new Map(Object.entries(metadata)));
    expect(new Set(read.tensors.keys())).toEqual(new Set(entries.map((e) => e.name)));
    for (const { name, dtype, shape } of entries) expect(read.tensors.get(name)).toMatchObject({ dtype, shape });
  });
});

describe('hostile bytes', () => {
  /** Whatever comes back must account for every byte of the file once. */
  function parsesOrRefuses(bytes: Uint8Array, fileSize: number) {
    try {
      const { tensors } = parseHeader(bytes, fileSize, 'x');
      let end = headerByteLength(bytes, fileSize, 'x');
      for (const { offset, byteLength, shape } of tensors.values()) {
        expect(offset).toBe(end);
        expect(shape.every((n) => Number.isSafeInteger(n) && n >= 0)).toBe(true);
        end += byteLength;
      }
      expect(end).toBe(fileSize);
      return true;
    } catch (error) {
      expect(error).toBeInstanceOf(SafetensorsError);
      return false;
    }
  }

  prop.prop([fc.uint8Array({ maxLength: 200 }), fc.nat(1000)], { numRuns: 500 })('at random', (bytes, more) => {
    parsesOrRefuses(bytes, bytes.length + more);
  });

  prop.prop([fc.json(), fc.nat(40)], { numRuns: 500 })('as a header of any JSON', (json, more) => {
    parsesOrRefuses(...withHeader(json, more));
  });

  const weird = fc.oneof(fc.constantFrom<unknown>(-1, -0, 0.5, 2 ** 53, 1e308, null, '4', true, [], {}), fc.nat(8));
  const entry = fc.record(
    {
      dtype: fc.oneof(
        { weight: 5, arbitrary: fc.constantFrom<unknown>('F32', 'BF16', 'U8') },
        { weight: 1, arbitrary: weird },
      ),
      shape: fc.oneof(
        { weight: 5, arbitrary: fc.array(fc.oneof(fc.nat(3), weird), { maxLength: 3 }) },
        { weight: 1, arbitrary: weird },
      ),
      data_offsets: fc.oneof(
        { weight: 5, arbitrary: fc.array(fc.oneof(fc.nat(24), weird), { minLength: 1, maxLength: 3 }) },
        { weight: 1, arbitrary: weird },
      ),
    },
    { requiredKeys: [] },
  );
  prop.prop([fc.dictionary(fc.string({ maxLength: 3 }), entry, { maxKeys: 4 }), fc.nat(40)], { numRuns: 2000 })(
    'as headers of nearly right entries',
    (header, more) => {
      parsesOrRefuses(...withHeader(header, more));
    },
  );

  const whole = fixture('safetensors/mixed.safetensors');
  test('as a whole file cut anywhere: always refused', () => {
    for (let size = 0; size < whole.length; size++) {
      expect(parsesOrRefuses(whole.subarray(0, size), size)).toBe(false);
    }
    expect(parsesOrRefuses(whole, whole.length)).toBe(true);
  });

  prop.prop([fc.array(fc.tuple(fc.nat(whole.length - 1), fc.nat(255)), { minLength: 1, maxLength: 3 })], {
    numRuns: 2000,
  })('as a whole file with bytes changed', (changes) => {
    const bytes = whole.slice();
    for (const [at, byte] of changes) bytes[at] = byte;
    parsesOrRefuses(bytes, bytes.length);
  });
});
