// Arbitraries of damaged and hostile inputs: edits of valid ones. They shrink to fewer edits.
import fc from 'fast-check';

type Edit<T> = (input: T) => T;

const MOST_EDITS = 6;

const edited = <T>(seeds: readonly T[], edit: fc.Arbitrary<Edit<T>>): fc.Arbitrary<T> =>
  fc
    .tuple(fc.constantFrom(...seeds), fc.array(edit, { minLength: 1, maxLength: MOST_EDITS }))
    .map(([seed, edits]) => edits.reduce((input, apply) => apply(input), seed));

/**
 * A position as a fraction, so that it does not depend on the length of the input. Made of an integer: `fc.double` draws all exponents
 * alike, and so mostly fractions near 0.
 */
const position = fc.integer({ min: 0, max: 2 ** 20 - 1 }).map((n) => n / 2 ** 20);
const at = (fraction: number, length: number) => Math.floor(fraction * length);

/** Values that stand for lengths, counts and offsets in binary formats. */
const EXTREME_BYTES = [0, 1, 0x7f, 0x80, 0xfe, 0xff];

/** Replaces the bytes of a range by others. */
const splice = (input: Uint8Array, start: number, removed: number, inserted: Uint8Array): Uint8Array => {
  const end = Math.min(input.length, start + removed);
  const out = new Uint8Array(start + inserted.length + input.length - end);
  out.set(input.subarray(0, start));
  out.set(inserted, start);
  out.set(input.subarray(end), start + inserted.length);
  return out;
};

/** Valid files with flipped bits, replaced, inserted and removed ranges, repeated ranges, and ends cut off. */
export function mutatedBytes(seeds: readonly Uint8Array[]): fc.Arbitrary<Uint8Array> {
  const size = fc.integer({ min: 0, max: 16 });
  const flip = fc.tuple(position, fc.integer({ min: 0, max: 7 })).map(
    ([where, bit]): Edit<Uint8Array> =>
      (input) => {
        const out = input.slice();
        const index = at(where, out.length);
        if (out.length > 0) out[index] = out[index]! ^ (1 << bit);
        return out;
      },
  );
  const overwrite = fc.tuple(position, fc.oneof(fc.uint8Array({ maxLength: 8 }), extremeBytes())).map(
    ([where, bytes]): Edit<Uint8Array> =>
      (input) =>
        splice(input, at(where, input.length), bytes.length, bytes),
  );
  const insert = fc.tuple(position, fc.uint8Array({ maxLength: 16 })).map(
    ([where, bytes]): Edit<Uint8Array> =>
      (input) =>
        splice(input, at(where, input.length), 0, bytes),
  );
  const remove = fc.tuple(position, size).map(
    ([where, count]): Edit<Uint8Array> =>
      (input) =>
        splice(input, at(where, input.length), count, new Uint8Array()),
  );
  const repeat = fc.tuple(position, position, size).map(
    ([from, to, count]): Edit<Uint8Array> =>
      (input) => {
        const start = at(from, input.length);
        return splice(input, at(to, input.length), 0, input.slice(start, start + count));
      },
  );
  const truncate = position.map(
    (where): Edit<Uint8Array> =>
      (input) =>
        input.slice(0, at(where, input.length)),
  );
  return edited(
    // slice() of a Buffer is a view, so that an edit would change the seed for all later cases
    seeds.map((seed) => new Uint8Array(seed)),
    fc.oneof(
      { weight: 6, arbitrary: flip },
      { weight: 4, arbitrary: overwrite },
      { weight: 2, arbitrary: insert },
      { weight: 2, arbitrary: remove },
      { weight: 2, arbitrary: repeat },
      { weight: 1, arbitrary: truncate },
    ),
  );
}

const extremeBytes = () =>
  fc
    .tuple(fc.constantFrom(...EXTREME_BYTES), fc.constantFrom(1, 2, 4, 8))
    .map(([value, length]) => new Uint8Array(length).fill(value));

/** Pieces of text that parsers and terminals trip over. */
// biome-ignore format: one table
const TROUBLE = [
  '', ' ', '\n', '\r\n', '\t', '\0', '\u001b[2J', '\u009b31m', '\u2028', '\u2029', '\ufeff', '\ud800', '\u202e', '"', "'", '\\',
  '{', '}', '[', ']', '{{', '}}', '{%', '%}', '<', '>', '&', '*', '|', ':', ',', '-', '#', '$', '..', '/', '%2F', '0', '-1', '1e999', 'NaN',
  'null', 'true', 'undefined', '__proto__', 'constructor', '4294967301', '9007199254740993', '💥',
];

/** Valid texts with characters removed, repeated and replaced, troublesome pieces inserted, and ends cut off. */
export function mutatedText(seeds: readonly string[]): fc.Arbitrary<string> {
  const insert = fc.tuple(position, fc.constantFrom(...TROUBLE), fc.constantFrom(0, 0, 1, 4)).map(
    ([where, piece, removed]): Edit<string> =>
      (input) => {
        const start = at(where, input.length);
        return input.slice(0, start) + piece + input.slice(start + removed);
      },
  );
  const remove = fc.tuple(position, fc.integer({ min: 1, max: 12 })).map(
    ([where, count]): Edit<string> =>
      (input) => {
        const start = at(where, input.length);
        return input.slice(0, start) + input.slice(start + count);
      },
  );
  const repeat = fc.tuple(position, position, fc.integer({ min: 1, max: 24 }), fc.constantFrom(1, 1, 2, 50)).map(
    ([from, to, count, times]): Edit<string> =>
      (input) => {
        const start = at(from, input.length);
        const target = at(to, input.length);
        return input.slice(0, target) + input.slice(start, start + count).repeat(times) + input.slice(target);
      },
  );
  const truncate = position.map(
    (where): Edit<string> =>
      (input) =>
        input.slice(0, at(where, input.length)),
  );
  return edited(
    seeds,
    fc.oneof(
      { weight: 5, arbitrary: insert },
      { weight: 3, arbitrary: remove },
      { weight: 3, arbitrary: repeat },
      { weight: 1, arbitrary: truncate },
    ),
  );
}

/** Values of another type or out of range. */
// biome-ignore format: one table
const TROUBLESOME_VALUES: readonly unknown[] = [
  null, true, false, 0, -0, -1, 1, 1.5, 2 ** 31, 2 ** 32, 2 ** 32 + 5, 2 ** 53, 1e300, -1e300, '', ' ', '7', 'NaN', '\u001b[2J', '\ud800',
  '__proto__', [], {}, [[]], [null], { '': null }, { toString: 1 },
];

/** Objects and lists of a JSON value, with their keys. */
function slots(value: unknown): [container: Record<string, unknown>, key: string][] {
  const found: [Record<string, unknown>, string][] = [];
  const visit = (node: unknown) => {
    if (typeof node !== 'object' || node === null) return;
    for (const key of Object.keys(node)) {
      found.push([node as Record<string, unknown>, key]);
      visit((node as Record<string, unknown>)[key]);
    }
  };
  visit(value);
  return found;
}

/**
 * Valid JSON values with values replaced by others of any type, keys removed, renamed and added, and values moved, repeated and nested
 * deeply.
 */
export function mutatedJson(seeds: readonly unknown[]): fc.Arbitrary<unknown> {
  const change = (apply: (container: Record<string, unknown>, key: string, root: unknown) => void) =>
    position.map(
      (where): Edit<unknown> =>
        (input) => {
          try {
            const root = structuredClone(input);
            const all = slots(root);
            if (all.length > 0) apply(...all[at(where, all.length)]!, root);
            return root;
          } catch (error) {
            if (error instanceof RangeError) return input; // it is nested too deeply to be copied
            throw error;
          }
        },
    );
  const replace = fc
    .oneof(fc.constantFrom(...TROUBLESOME_VALUES), fc.jsonValue({ maxDepth: 2 }))
    .chain((value) => change((container, key) => (container[key] = structuredClone(value))));
  const remove = change((container, key) =>
    Array.isArray(container) ? container.splice(Number(key), 1) : delete container[key],
  );
  const rename = fc.constantFrom(...TROUBLE).chain((name) =>
    change((container, key) => {
      if (Array.isArray(container)) return; // JSON has no names in lists
      Object.defineProperty(container, name || key.toUpperCase(), {
        value: container[key],
        enumerable: true,
        configurable: true,
        writable: true,
      });
    }),
  );
  const number = fc
    .constantFrom<Edit<number>[]>(
      (x) => x + 1,
      (x) => x - 1,
      (x) => -x,
      (x) => x * 2 ** 32,
      (x) => x + 2 ** 32,
      (x) => x + 0.5,
    )
    .chain((apply) =>
      change((container, key) => {
        if (typeof container[key] === 'number') container[key] = apply(container[key]);
      }),
    );
  const move = position.chain((from) =>
    change((container, key, root) => {
      const all = slots(root);
      const [source, name] = all[at(from, all.length)]!;
      container[key] = structuredClone(source[name]);
    }),
  );
  const nest = fc.constantFrom(3, 50, 500).chain((depth) =>
    change((container, key) => {
      let value = container[key];
      for (let level = 0; level < depth; level++) value = level % 2 ? [value] : { x: value };
      container[key] = value;
    }),
  );
  return edited(
    seeds,
    fc.oneof(
      { weight: 6, arbitrary: replace },
      { weight: 3, arbitrary: remove },
      { weight: 2, arbitrary: rename },
      { weight: 3, arbitrary: number },
      { weight: 2, arbitrary: move },
      { weight: 1, arbitrary: nest },
    ),
  );
}
