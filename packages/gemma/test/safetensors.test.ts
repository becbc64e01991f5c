import { readFileSync } from 'node:fs';
import { fc, test as prop } from '@fast-check/vitest';
import { describe, expect, test } from 'vitest';
import {
  headerByteLength,
  makeHeader,
  parseHeader,
  type SafetensorsDtype,
  SafetensorsError,
  type TensorSpec,
} from '../src/safetensors';

const fixture = (path: string) => new Uint8Array(readFileSync(new URL(`./fixtures/${path}`, import.meta.url)));

/** The beginning of a file with `header` as its JSON, and the size of a file with `dataBytes` after it. */
function withHeader(header: unknown, dataBytes = 0) {
  const text = new TextEncoder().encode(typeof header === 'string' ? header : JSON.stringify(header));
  const bytes = new Uint8Array(8 + text.length);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(text.length), true);
  bytes.set(text, 8);
  return [bytes, bytes.length + dataBytes] as const;
}

const parse = (header: unknown, dataBytes = 0) => parseHeader(...withHeader(header, dataBytes), 'x.safetensors');
const f32 = (shape: unknown, begin: unknown, end: unknown) => ({ dtype: 'F32', shape, data_offsets: [begin, end] });

describe("a header written by Python's safetensors", () => {
  test('may have null for no metadata', () => {
    expect(parse('{"__metadata__":null}', 0).metadata).toEqual(new Map());
  });

  test('has names, types, shapes, offsets and metadata', () => {
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

  test('equals our header of the same tensors, byte for byte', () => {
    const bytes = fixture('golden/tiny/model.safetensors');
    const { tensors } = parseHeader(bytes, bytes.length, 'golden');
    const ours = makeHeader([...tensors].map(([name, { dtype, shape }]) => ({ name, dtype, shape })));
    expect(ours.bytes).toEqual(bytes.subarray(0, ours.bytes.length));
    expect(ours.fileSize).toBe(bytes.length);
  });
});

describe('parseHeader refuses', () => {
  const cases: [what: string, header: unknown, dataBytes: number, message: string][] = [
    ['a header that is not an object', '[1]', 0, 'header: expected a JSON object, found text that begins with "[1]"'],
    ['leading spaces', ' {}', 0, 'found text that begins with " {}"'],
    ['broken JSON', '{"a":', 0, 'found JSON that is cut off'],
    [
      'an entry that is not an object',
      { a: 3 },
      0,
      'tensor "a": expected an object with dtype, shape and data_offsets, found 3',
    ],
    [
      'an unknown type',
      { a: { dtype: 'F31', shape: [1], data_offsets: [0, 4] } },
      4,
      'F8_E5M2, F8_E8M0, I8, U8, found "F31"',
    ],
    [
      'a type named like a built-in',
      { a: { dtype: 'toString', shape: [], data_offsets: [0, 4] } },
      4,
      'U8, found "toString"',
    ],
    [
      'a missing shape',
      { a: { dtype: 'F32', data_offsets: [0, 4] } },
      4,
      'shape: expected a list of whole numbers, found nothing',
    ],
    ['a negative size', { a: f32([-1, -4], 0, 16) }, 16, 'shape: expected a list of whole numbers, found [-1,-4]'],
    ['a fractional size', { a: f32([1.5], 0, 6) }, 6, 'whole numbers, found [1.5]'],
    [
      'a size beyond safe integers',
      '{"a":{"dtype":"F32","shape":[1e999],"data_offsets":[0,4]}}',
      4,
      'whole numbers, found [Infinity]',
    ],
    [
      'sizes whose product is beyond safe integers',
      { a: f32([2 ** 30, 2 ** 30], 0, 4) },
      4,
      'found 4611686018427388000 for F32 [1073741824,1073741824]',
    ],
    [
      'one offset',
      { a: { dtype: 'F32', shape: [1], data_offsets: [4] } },
      4,
      'data_offsets: expected two whole numbers, found [4]',
    ],
    ['offsets as strings', { a: f32([1], '0', '4') }, 4, 'found ["0","4"]'],
    [
      'an end before the beginning',
      { a: f32([1], 4, 0) },
      4,
      'data_offsets: expected a difference of 4 bytes for F32 [1], found [4,0]',
    ],
    [
      'fewer bytes than the shape needs',
      { a: f32([2, 3], 0, 20) },
      20,
      'data_offsets: expected a difference of 24 bytes for F32 [2,3], found [0,20]',
    ],
    [
      'a gap',
      { a: f32([1], 0, 4), b: f32([1], 8, 12) },
      12,
      'tensor "b": expected data from byte 4, where tensor "a" ends, found 8: data may not have gaps',
    ],
    [
      'a gap before the first tensor',
      { a: f32([1], 4, 8) },
      8,
      'tensor "a": expected data from byte 0, where the header ends, found 4',
    ],
    [
      'an overlap',
      { a: f32([2], 0, 8), b: f32([2], 4, 12) },
      12,
      'tensor "b": expected data from byte 8, where tensor "a" ends, found 4: data may not have overlaps',
    ],
    ['the same bytes twice', { a: f32([1], 0, 4), b: f32([1], 0, 4) }, 4, 'may not have overlaps'],
    ['a file that ends early', { a: f32([4], 0, 16) }, 12, 'The file is truncated'],
    ['bytes after the last tensor', { a: f32([1], 0, 4) }, 5, 'belong to no tensor'],
    ['bytes without any tensor', {}, 1, 'where the header ends, found 11. The file is damaged'],
    [
      'a repeated name',
      `{"a":${JSON.stringify(f32([0], 0, 0))},"a":${JSON.stringify(f32([0], 0, 0))}}`,
      0,
      'found "a" twice',
    ],
    ['a repeated name, escaped differently', '{"a":1,"\\u0061" :2}', 0, 'found "a" twice'],
    [
      'a repeated field',
      '{"a":{"dtype":"F16","dtype":"BF16","shape":[1],"data_offsets":[0,2]}}',
      2,
      'found "dtype" twice',
    ],
    [
      'metadata that is not an object',
      { __metadata__: [] },
      0,
      '__metadata__: expected an object of strings, found []',
    ],
    [
      'metadata that is not a string',
      { __metadata__: { step: 3 } },
      0,
      '__metadata__: "step": expected a string, found 3',
    ],
    ['deep nesting', `{"a":${'['.repeat(1e6)}`, 0, 'expected at most 3 levels of nesting'],
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
    expect(() => parseHeader(bytes, size, 'x')).toThrow(
      'x: header: expected a JSON object, found text that is not UTF-8',
    );
  });

  test('a file shorter than 8 bytes, and a header length beyond the file or beyond 100 MB', () => {
    expect(() => parseHeader(new Uint8Array(7), 7, 'x')).toThrow('x: expected at least 8 bytes, found 7');
    const [bytes] = withHeader('{}');
    expect(() => parseHeader(bytes, 9, 'x')).toThrow(
      'x: header length: expected at most 1 bytes (the file has 9), found 2',
    );
    new DataView(bytes.buffer).setBigUint64(0, 2n ** 64n - 1n, true);
    expect(() => headerByteLength(bytes, 10, 'x')).toThrow(
      'expected at most 2 bytes (the file has 10), found 18446744073709551615',
    );
    new DataView(bytes.buffer).setBigUint64(0, 100_000_001n, true);
    expect(() => headerByteLength(bytes, 2 ** 40, 'x')).toThrow(
      'expected at most 100000000 bytes (the file has 1099511627776), found 100000001',
    );
    new DataView(bytes.buffer).setBigUint64(0, 100_000_000n, true);
    expect(headerByteLength(bytes, 2 ** 40, 'x')).toBe(100_000_008);
    expect(() => parseHeader(bytes, 2 ** 40, 'x')).toThrow(
      'x: expected the first 100000008 bytes (length and header), found 10',
    );
  });

  test('a Git LFS pointer, with a hint', () => {
    const pointer = new TextEncoder().encode('version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n');
    expect(() => parseHeader(pointer, pointer.length, 'x')).toThrow('git lfs pull');
  });
});

describe('parseHeader accepts', () => {
  test('entries in any order, padding, scalars and empty tensors', () => {
    const header = { b: f32([1], 4, 8), e: f32([0, 2 ** 52], 4, 4), a: f32([], 0, 4) };
    const { tensors } = parse(`${JSON.stringify(header)}   `, 8);
    expect([...tensors.keys()]).toEqual(['a', 'e', 'b']);
  });

  test('tensor names that are names of built-in properties', () => {
    const names = ['__proto__', 'constructor', 'toString', 'hasOwnProperty'];
    const fields = names.map((name, i) => `"${name}":${JSON.stringify(f32([1], 4 * i, 4 * i + 4))}`);
    const { tensors, metadata } = parse(`{"__metadata__":{"__proto__":"m"},${fields.join()}}`, 16);
    expect([...tensors.keys()]).toEqual(names);
    expect([...metadata]).toEqual([['__proto__', 'm']]);
    expect(Object.hasOwn(Object.prototype, 'dtype')).toBe(false);
  });
});

describe('makeHeader', () => {
  test('puts wider types first, otherwise keeps the order, and pads to 8 bytes', () => {
    const { bytes, header, fileSize } = makeHeader([
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

  test('refuses a repeated name, a reserved name and an invalid shape', () => {
    const one = { name: 'a', dtype: 'F32', shape: [1] } as const;
    expect(() => makeHeader([one, one])).toThrow('expected unique tensor names, found "a" twice');
    expect(() => makeHeader([{ ...one, name: '__metadata__' }])).toThrow('found "__metadata__", which is reserved');
    expect(() => makeHeader([{ ...one, shape: [1.5] }])).toThrow(
      'tensor "a": shape: expected a list of whole numbers, found [1.5]',
    );
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
  ])('is read back as it was written', (entries, metadata) => {
    const { bytes, header, fileSize } = makeHeader(entries, metadata);
    const read = parseHeader(bytes, fileSize, 'x');
    // empty tensors share their offset with another, so their order may differ
    const byName = (map: typeof read.tensors) => [...map].sort(([a], [b]) => (a < b ? -1 : 1));
    expect(byName(read.tensors)).toEqual(byName(header.tensors));
    expect(new Map(read.metadata)).toEqual(new Map(Object.entries(metadata)));
    expect(new Set(read.tensors.keys())).toEqual(new Set(entries.map((e) => e.name)));
    for (const { name, dtype, shape } of entries) expect(read.tensors.get(name)).toMatchObject({ dtype, shape });
  });
});

describe('invalid bytes are refused or read consistently:', () => {
  /** A header that is accepted must cover every byte of the file exactly once. */
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

  prop.prop([fc.uint8Array({ maxLength: 200 }), fc.nat(1000)], { numRuns: 500 })('random bytes', (bytes, more) => {
    parsesOrRefuses(bytes, bytes.length + more);
  });

  prop.prop([fc.json(), fc.nat(40)], { numRuns: 500 })('any JSON as the header', (json, more) => {
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
    'headers with nearly valid entries',
    (header, more) => {
      parsesOrRefuses(...withHeader(header, more));
    },
  );

  const whole = fixture('safetensors/mixed.safetensors');
  test('a file truncated anywhere: always refused', () => {
    for (let size = 0; size < whole.length; size++) {
      expect(parsesOrRefuses(whole.subarray(0, size), size)).toBe(false);
    }
    expect(parsesOrRefuses(whole, whole.length)).toBe(true);
  });

  prop.prop([fc.array(fc.tuple(fc.nat(whole.length - 1), fc.nat(255)), { minLength: 1, maxLength: 3 })], {
    numRuns: 2000,
  })('a file with changed bytes', (changes) => {
    const bytes = whole.slice();
    for (const [at, byte] of changes) bytes[at] = byte;
    parsesOrRefuses(bytes, bytes.length);
  });
});
