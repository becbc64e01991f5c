import '@wpo/tensorflow';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { afterAll, afterEach, beforeEach, describe, expect, test } from 'vitest';
import { bf16ToF32, f16ToF32, f32ToBf16 } from '../../gemma/src/dtype';
import { nativeOperations, runProgram } from '../src/kernels/native';
import { call, give, store, stored, withArena } from './stored';

nativeOperations();

const folder = mkdtempSync(join(tmpdir(), 'wpo-store-'));
afterAll(() => rmSync(folder, { recursive: true }));
const file = (name: string, bytes: Uint8Array) => {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
};
const bytesOf = (values: Uint16Array | Float32Array) =>
  new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
const allBits = Uint16Array.from({ length: 1 << 16 }, (_, i) => i);
/** Expects the same bits. Vitest compares values one by one, which would take seconds. */
const expectBits = (found: Uint16Array | Float32Array, expected: Uint16Array | Float32Array) =>
  expect(Buffer.compare(bytesOf(found), bytesOf(expected))).toBe(0);

let before: ReturnType<typeof store.bytes>;
beforeEach(() => {
  before = store.bytes();
});
afterEach(() => expect(store.bytes(), 'bytes of arenas that a test left').toEqual(before));

describe('the store', () => {
  test('counts the bytes of its arenas', () => {
    const path = file('counted', new Uint8Array(100));
    const ids = [store.allocate(1000), store.allocate(0), store.map(path), store.map(path, 100)];
    expect(store.bytes()).toEqual({ allocated: before.allocated + 1000, mapped: before.mapped + 200 });
    for (const id of ids) store.free(id);
    expect(new Set(ids).size).toBe(4);
    expect(store.bytes()).toEqual(before);
  });

  test('says where an arena is in memory, aligned to 64 bytes; a mapped file and a freed arena are refused', () => {
    const ids = [store.allocate(100), store.allocateForStep(100)];
    const [first, second] = ids.map((id) => store.address(id));
    expect([first! % 64n, second! % 64n, first === second]).toEqual([0n, 0n, false]);
    const mapped = store.map(file('address', new Uint8Array(8)));
    expect(() => store.address(mapped)).toThrow(`arena ${mapped} is a mapped file, which is read-only`);
    for (const id of [...ids, mapped]) store.free(id);
    expect(() => store.address(ids[0]!)).toThrow('does not exist or was freed');
  });

  test('allocates zeros', () =>
    withArena(1 << 20, (id) => {
      expect(store.get(id, 0, 1 << 18, 'F32').every((x) => Object.is(x, 0))).toBe(true);
    }));

  test.each(['F32', 'BF16', 'F16'] as const)('reads every %s value as float32 and bfloat16, to the bit', (fileType) => {
    const bits =
      fileType === 'F32'
        ? bytesOf(Float32Array.from(allBits, (i) => Math.fround(Math.sin(i) * 10 ** ((i % 77) - 38))))
        : bytesOf(allBits);
    const path = file(fileType, Uint8Array.from([1, 2, 3, ...bits])); // at an odd offset
    const wide =
      fileType === 'F32' ? new Float32Array(bits.buffer) : fileType === 'BF16' ? bf16ToF32(allBits) : f16ToF32(allBits);
    withArena(4 * 65536 + 64, (id) => {
      store.read(id, 64, path, 3, 65536, fileType, 'F32');
      expectBits(store.get(id, 64, 65536, 'F32'), wide);
      store.read(id, 2, path, 3, 65536, fileType, 'BF16');
      const rounded = fileType === 'BF16' ? allBits : f32ToBf16(wide);
      expectBits(store.get(id, 2, 65536, 'BF16'), bf16ToF32(rounded));
      store.set(id, 2, wide, 'BF16');
      expectBits(store.get(id, 2, 65536, 'BF16'), bf16ToF32(f32ToBf16(wide)));
    });
  });

  test.each(['I16', 'U8'] as const)('keeps values of %s as they are, in files too', (type) => {
    const values = type === 'I16' ? Int16Array.from(allBits) : Uint8Array.from(allBits);
    const path = file(`raw ${type}`, Uint8Array.from([9, ...new Uint8Array(values.buffer)]));
    const target = file(`written ${type}`, new Uint8Array(1));
    withArena(values.byteLength + 64, (id) => {
      store.read(id, 2, path, 1, 65536, type, type);
      expect(store.get(id, 2, 65536, type)).toEqual(values);
      store.set(id, 64, values, type);
      expect(store.get(id, 64, 65536, type)).toEqual(values);
      store.write(id, 64, target, 1, 65536, type, type);
      expect(readFileSync(target).subarray(1)).toEqual(readFileSync(path).subarray(1));
    });
  });

  test('reads and writes a file by several threads, by a path or a descriptor', () => {
    const values = Float32Array.from({ length: 600_001 }, (_, i) => Math.sin(i));
    const path = file('large', bytesOf(values));
    const target = file('written', new Uint8Array(5));
    withArena(4 * values.length, (id) => {
      const descriptor = openSync(path, 'r+');
      store.read(id, 0, descriptor, 0, values.length, 'F32', 'F32');
      expectBits(store.get(id, 0, values.length, 'F32'), values);
      store.write(id, 0, target, 5, values.length, 'F32', 'BF16');
      expectBits(new Uint16Array(Uint8Array.from(readFileSync(target).subarray(5)).buffer), f32ToBf16(values));
      store.write(id, 4, descriptor, 0, values.length - 1, 'F32', 'F32');
      closeSync(descriptor);
      expectBits(new Float32Array(Uint8Array.from(readFileSync(path)).buffer, 0, 600_000), values.subarray(1));
    });
  });

  test('a mapped file is read without a copy, and stays after the file is deleted', () => {
    const values = Float32Array.from({ length: 1000 }, (_, i) => i);
    const path = file('mapped', bytesOf(values));
    const id = store.map(path, 4000);
    rmSync(path);
    expect(store.get(id, 0, 1000, 'F32')).toEqual(values);
    expect(store.get(id, 2, 1, 'BF16')).toEqual(Float32Array.of(0));
    store.free(id);
  });

  test.each<[string, (id: number, mapped: number) => unknown, string]>([
    ['no bytes', () => store.allocate(undefined as never), 'bytes: expected an integer from 0 to'],
    ['a negative size', () => store.allocate(-1), 'found -1'],
    ['half a byte', () => store.allocate(0.5), 'found 0.5'],
    ['more memory than the machine has', () => store.allocate(2 ** 46), 'could not allocate 70368744177664 bytes'],
    ['NaN bytes', () => store.allocate(Number.NaN), 'found nan'],
    ['infinitely many bytes', () => store.allocate(Infinity), 'found inf'],
    ['a text for a size', () => store.allocate('8' as never), 'found another type'],
    ['a big integer', () => store.allocate(8n as never), 'found another type'],
    ['an arena that never was', () => store.free(12345678), 'arena 12345678 does not exist or was freed'],
    ['a negative arena', () => store.free(-1), 'id: expected an integer'],
    ['no path', () => store.map(undefined as never), 'path: expected a string'],
    ['a missing file', () => store.map(join(folder, 'missing')), 'missing: No such file or directory'],
    ['a folder', () => store.map(folder), 'expected a regular file'],
    ['a device', () => store.map('/dev/zero'), 'expected a regular file'],
    ['a path with a NUL', () => store.map('/etc/passwd\0x'), 'without NUL'],
    ['a file of another size', () => store.map(file('sized', new Uint8Array(3)), 4), 'expected 4 bytes, found 3'],
    [
      'a range past the end',
      (id) => store.get(id, 60, 2, 'F32'),
      'expected a range within 64 bytes, found 8 bytes from 60',
    ],
    ['an offset past the end', (id) => store.get(id, 1 << 20, 0, 'F32'), 'found 0 bytes from 1048576'],
    ['2⁴⁰ values', (id) => store.get(id, 0, 2 ** 40, 'F32'), 'found 4398046511104 bytes from 0'],
    ['more than 2⁴⁰ values', (id) => store.get(id, 0, 2 ** 52, 'F32'), 'count: expected an integer from 0 to'],
    ['an offset that is not aligned', (id) => store.get(id, 2, 1, 'F32'), 'expected a multiple of 4'],
    ['an odd offset', (id) => store.get(id, 1, 1, 'BF16'), 'expected a multiple of 2'],
    ['float16 in an arena', (id) => store.get(id, 0, 1, 'F16' as never), 'type: expected F32, BF16, I16 or U8'],
    ['no type', (id) => store.get(id, 0, 1, undefined as never), 'type: expected a string'],
    ['numbers that are no Float32Array', (id) => store.set(id, 0, [1, 2] as never, 'F32'), 'expected a Float32Array'],
    ['floats for int16', (id) => store.set(id, 0, new Float32Array(1), 'I16'), 'expected an Int16Array'],
    ['int16 for uint8', (id) => store.set(id, 0, new Int16Array(1), 'U8'), 'expected a Uint8Array'],
    [
      'a file of uint8 as float32',
      (id) => store.read(id, 0, '/dev/zero', 0, 1, 'U8', 'F32'),
      'expected values of one type, found uint8 and float32, which are not converted',
    ],
    [
      'int16 in a file of bfloat16',
      (id) => store.write(id, 0, file('some', new Uint8Array(4)), 0, 1, 'I16', 'BF16'),
      'expected values of one type, found int16 and bfloat16',
    ],
    ['a Float64Array', (id) => store.set(id, 0, new Float64Array(1) as never, 'F32'), 'expected a Float32Array'],
    ['too many values', (id) => store.set(id, 0, new Float32Array(17), 'F32'), 'within 64 bytes'],
    ['a change of a mapped file', (_, mapped) => store.set(mapped, 0, new Float32Array(1), 'F32'), 'is a mapped file'],
    ['reading into a mapped file', (_, mapped) => store.read(mapped, 0, '/dev/zero', 0, 1, 'F32', 'F32'), 'read-only'],
    [
      'a file that is too short',
      (id) => store.read(id, 0, file('short', new Uint8Array(3)), 0, 1, 'F32', 'F32'),
      'the file ends before them',
    ],
    [
      'an offset past the end of a file',
      (id) => store.read(id, 0, file('short', new Uint8Array(3)), 2 ** 53 - 1, 1, 'F32', 'F32'),
      'cannot be read',
    ],
    ['a descriptor that is not open', (id) => store.read(id, 0, 99999, 0, 1, 'F32', 'F32'), 'Bad file descriptor'],
    ['a negative descriptor', (id) => store.read(id, 0, -1, 0, 1, 'F32', 'F32'), 'file: expected an integer'],
    [
      'a file that does not exist',
      (id) => store.read(id, 0, join(folder, 'missing'), 0, 1, 'F32', 'F32'),
      'No such file',
    ],
    ['writing to a folder', (id) => store.write(id, 0, folder, 0, 1, 'F32', 'F32'), 'Is a directory'],
    [
      'writing to a descriptor for reading',
      (id) => {
        const descriptor = openSync(file('read', new Uint8Array(4)), 'r');
        try {
          store.write(id, 0, descriptor, 0, 1, 'F32', 'F32');
        } finally {
          closeSync(descriptor);
        }
      },
      'cannot be written: Bad file descriptor',
    ],
    [
      'writing float16',
      (id) => store.write(id, 0, file('half', new Uint8Array(4)), 0, 1, 'F32', 'F16' as never),
      'fileType: expected F32, BF16, I16 or U8',
    ],
  ])('refuses %s', (_, call, message) => {
    const mapped = store.map(file('some', new Uint8Array(64)));
    try {
      withArena(64, (id) => expect(() => call(id, mapped)).toThrow(message));
    } finally {
      store.free(mapped);
    }
  });

  test('refuses any arguments, or does as they say, and the process continues', () => {
    const path = file('fuzzed', new Uint8Array(100));
    const argument = fc.oneof(
      fc.integer({ min: -2, max: 70 }),
      fc.constantFrom<unknown>(
        'F32',
        'BF16',
        'I16',
        'U8',
        'F16',
        '',
        path,
        null,
        undefined,
        {},
        [],
        2 ** 31,
        2 ** 53,
        Number.NaN,
      ),
      fc.constantFrom<unknown>(new Float32Array(3), new DataView(new ArrayBuffer(4)), Symbol('s')),
    );
    const name = fc.constantFrom('map', 'bytes', 'read', 'write', 'get', 'set', 'allocate');
    const functions = store as unknown as Record<string, (...values: unknown[]) => unknown>;
    fc.assert(
      fc.property(name, fc.array(argument, { maxLength: 10 }), (name, values) =>
        withArena(64, (id) => {
          const makes = name === 'map' || name === 'allocate';
          // this process has other files open, which must not be written
          const safe = values.map((value) => (name === 'write' && typeof value === 'number' ? 2 ** 30 : value));
          try {
            const result = functions[name]!(...(makes || values.length === 0 ? values : [id, ...safe]));
            if (makes) store.free(result as number);
          } catch (error) {
            expect(error).toBeInstanceOf(Error);
          }
        }),
      ),
      { numRuns: 2000 },
    );
  });
});

describe.runIf(nativeOperations())('a program', () => {
  test('reads and changes the values of an arena', () =>
    withArena(64, (id) => {
      store.set(
        id,
        0,
        Float32Array.from({ length: 16 }, (_, i) => i),
        'F32',
      );
      const add = [
        ...stored(id, 2, 'F32', 2, 3),
        ...stored(id, 8, 'F32', 2, 3),
        ...call('WpoAdd', 0, 1),
        0,
        ...give(2),
      ];
      runProgram(add, [], 1)[0]!.dispose();
      expect(Array.from(store.get(id, 0, 16, 'F32'))).toEqual([
        ...[0, 1, 2 + 8, 3 + 9, 4 + 10, 5 + 11, 6 + 12, 7 + 13, 8, 9, 10, 11, 12, 13, 14, 15],
      ]);
    }));

  test('reads a mapped file', () => {
    const id = store.map(file('values', bytesOf(Float32Array.of(9, 1, -2, 3))));
    const [y] = runProgram([...stored(id, 1, 'F32', 3), ...call('WpoGeglu', 0, 0), 1, 3, ...give(1)], [], 1);
    const [expected] = runProgram([0, ...call('WpoGeglu', 0, 0), 1, 3, ...give(1)], [tf.tensor1d([1, -2, 3])], 1);
    expect(y!.dataSync()).toEqual(expected!.dataSync());
    tf.dispose([y!, expected!]);
    store.free(id);
  });

  test('writes outputs of operations in the place of stored values', () =>
    withArena(64, (id) => {
      store.set(
        id,
        0,
        Float32Array.from({ length: 16 }, (_, i) => i),
        'F32',
      );
      const [a, b, into] = [stored(id, 0, 'F32', 2, 2), stored(id, 4, 'F32', 2, 2), stored(id, 9, 'F32', 4)];
      // a · b, which replaces, and the sum of this value and 8
      const code = [...a, ...b, ...into, ...call('WpoProduct', 0, 1), -1, 2, ...stored(id, 8, 'F32', 1)];
      const [sums] = runProgram([...code, ...call('WpoSquareSums', 2, 3, 4), 1, 2, ...give(5)], [], 1);
      expect(Array.from(store.get(id, 32, 8, 'F32'))).toEqual([8, 6, 7, 26, 31, 13, 14, 15]);
      expect(Array.from(sums!.dataSync())).toEqual([6 * 6 + 7 * 7 + 26 * 26 + 31 * 31, 64]);
      sums!.dispose();
    }));

  test.each<[string, (id: number, mapped: number) => number[], string]>([
    [
      'an arena that was freed',
      () =>
        stored(
          withArena(4, (id) => id),
          0,
          'F32',
          1,
        ),
      'does not exist or was freed',
    ],
    ['a negative arena', () => stored(-1, 0, 'F32', 1), 'arena -1 does not exist'],
    ['values past the end', (id) => stored(id, 0, 'F32', 17), 'a range within 64 bytes, found 68 bytes from 0'],
    ['an offset past the end', (id) => stored(id, 2 ** 59, 'BF16', 1), 'found 2 bytes from 1152921504606846976'],
    ['an offset of 2³⁰ in the lower part', (id) => [5, id, 2 ** 30, 0, 0, 0], 'an offset of two parts of 30 bits'],
    ['a negative offset', (id) => [5, id, 0, -1, 0, 0], 'an offset of two parts of 30 bits'],
    ['another type', (id) => [5, id, 0, 0, 4, 0], 'expected a type from 0 to 3, found 4'],
    ['a negative dimension', (id) => stored(id, 0, 'F32', -1, -1), 'dimensions of 0 or more'],
    ['2⁶⁰ values', (id) => stored(id, 0, 'F32', 2 ** 30, 2 ** 30), 'at most'],
    ['2⁶⁰ rows without a value', (id) => stored(id, 0, 'F32', 2 ** 30, 2 ** 30, 0), 'at most'],
    ['an instruction cut short', (id) => [5, id, 0, 0], 'ends within an instruction'],
    ['stored values as an output', (id) => [...stored(id, 0, 'F32', 1), ...give(0)], "an operation's output"],
    ['stored values that are freed', (id) => [...stored(id, 0, 'F32', 1), 3, 0], "an operation's output"],
    [
      'bfloat16 where an operation takes float32',
      (id) => [...stored(id, 0, 'BF16', 1), ...call('WpoCapLogits', 0, 0), 1, 1],
      'WpoCapLogits: expected raw: float as input 0, found value 0 of type bfloat16',
    ],
    [
      'stored values where an operation takes integers',
      (id) => [...stored(id, 0, 'F32', 1), ...call('WpoCapLogits', 0, 0), 1, 1],
      'WpoCapLogits: expected cap: int32 as input 1, found value 0 of type float32',
    ],
    [
      'changing a mapped file',
      (_, mapped) => [...stored(mapped, 0, 'F32', 1), ...call('WpoAdd', 0, 0), 0],
      'WpoAdd: input 0 would be changed, but it is a mapped file',
    ],
    [
      'setting columns of a mapped file',
      (_, mapped) => [...stored(mapped, 0, 'F32', 1, 1), 1, 1, 1, 0, ...call('WpoSetColumns', 0, 1, 0), 0],
      'WpoSetColumns: input 0 would be changed',
    ],
    [
      'adding rows to a mapped file',
      (_, mapped) => [...stored(mapped, 0, 'F32', 1, 1), 1, 1, 1, 0, ...call('WpoAddRows', 0, 1, 0), 0],
      'WpoAddRows: input 0 would be changed',
    ],
    [
      'overwriting logits in a mapped file',
      (_, mapped) => [
        ...[...stored(mapped, 0, 'F32', 1, 1), 1, 1, 1, 0, 1, 1, 2, 0, 0],
        ...[...call('WpoAnswerTerms', 0, 1, 2), 2, 1, 4],
      ],
      'WpoAnswerTerms: input 0 would be changed',
    ],
    [
      'replacing an input',
      (id) => [...stored(id, 0, 'F32', 4), ...stored(id, 3, 'F32', 4), ...call('WpoGeglu', 0, 0), -1, 1],
      'WpoGeglu: an output would replace one of the inputs',
    ],
    [
      'replacing bfloat16 values',
      (id) => [...stored(id, 0, 'F32', 4), ...stored(id, 8, 'BF16', 4), ...call('WpoGeglu', 0, 0), -1, 1],
      'WpoGeglu: expected float32 values in memory to replace, found bfloat16 values',
    ],
    [
      'replacing values of a mapped file',
      (id, mapped) => [...stored(id, 0, 'F32', 4), ...stored(mapped, 0, 'F32', 4), ...call('WpoGeglu', 0, 0), -1, 1],
      'found float32 values of a mapped file',
    ],
    [
      'replacing values of another number',
      (id) => [...stored(id, 0, 'F32', 4), ...stored(id, 4, 'F32', 5), ...call('WpoGeglu', 0, 0), -1, 1],
      'makes an output of shape [4], but the program expects [5]',
    ],
    [
      'replacing a value that does not exist',
      (id) => [...stored(id, 0, 'F32', 4), ...call('WpoGeglu', 0, 0), -1, 1],
      'WpoGeglu: expected the number of stored values to replace, found 1',
    ],
    [
      'replacing integers',
      (id) => [...stored(id, 0, 'F32', 4), 1, 1, 4, 0, 0, 0, 0, ...call('WpoGeglu', 0, 0), -1, 1],
      'expected the number of stored values to replace, found 1',
    ],
    [
      'giving replaced values as an output',
      (id) => [
        ...[...stored(id, 0, 'F32', 4), ...stored(id, 4, 'F32', 4)],
        ...[...call('WpoGeglu', 0, 0), -1, 1, ...give(2)],
      ],
      "an operation's output",
    ],
    ['an empty list', (id) => [...stored(id, 0, 'F32', 4), ...call('WpoSquareSums', 0), 1, 0], 'at least one value'],
    [
      'a list past the end',
      (id) => [...stored(id, 0, 'F32', 4), ...call('WpoSquareSums', 9, 0)],
      'within an instruction',
    ],
  ])('refuses %s', (_, code, message) => {
    const mapped = store.map(file('some', new Uint8Array(64)));
    try {
      withArena(64, (id) => expect(() => runProgram(code(id, mapped), [], 0)).toThrow(message));
    } finally {
      store.free(mapped);
    }
  });
});
