// Random calls of every native operation: mostly valid shapes, then inputs of other shapes and extreme values. A call returns, or is
// refused with an error that names the operation; under sanitizers it also reads and writes only memory that is its own.
import * as tf from '@tensorflow/tfjs-core';
import { float32Bits, hasOperation, operationNumber, run, runProgram, type StoredName } from '../../src/kernels/native';
import { runOver } from '../run-over';
import { store, stored } from '../stored';

/** A seeded generator of integers in [0, n). */
function randomIntegers(seed: number): (n: number) => number {
  let state = seed >>> 0 || 1;
  return (n) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % n;
  };
}

/** Instructions of native/runtime/program.h. */
const [RUN, RUN_BF16, BF16_TENSOR] = [2, 6, 7];
/** Before the rank of an output of bfloat16 values. */
const BFLOAT16 = -2;

const EXTREME_FLOATS = [
  Number.NaN,
  Infinity,
  -Infinity,
  0,
  -0,
  1e-45,
  1e-39,
  -1e-40,
  3.4e38,
  -3.4e38,
  88.8,
  -88.8,
  1e20,
];
const EXTREME_INTS = [0, 1, -1, 2, 2 ** 30, 2 ** 30 - 1, 2 ** 31 - 1, -(2 ** 31), 65536, 7];
const SIZES = [0, 1, 1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 33, 64, 65];
/** Sizes of tensors without values, whose products overflow 64 bits. */
// biome-ignore format: one table
const HUGE_EMPTY = [[2 ** 30, 0], [0, 2 ** 30, 2 ** 30], [2 ** 20, 2 ** 20, 0], [2 ** 24, 2 ** 12, 0, 2 ** 30]];

export type Counts = Record<string, { returned: number; refused: number }>;

/** Makes `calls` calls and counts, for each operation, those that returned and those that were refused. */
export function randomCalls(calls: number, seed: number, onCall: (description: string) => void = () => {}): Counts {
  const random = randomIntegers(seed);
  const pick = <T>(list: readonly T[]): T => list[random(list.length)]!;
  const chance = (percent: number) => random(100) < percent;
  const size = () => pick(SIZES);
  const some = () => pick(SIZES.slice(1));

  const floats = (...shape: number[]) => {
    const values = new Float32Array(shape.reduce((count, n) => count * n, 1));
    const extreme = chance(25);
    for (let i = 0; i < values.length; i++) {
      values[i] = extreme && chance(20) ? pick(EXTREME_FLOATS) : (random(2001) - 1000) / 300;
    }
    return tf.tensor(values, shape);
  };
  const ints = (...values: number[]) => tf.tensor1d(Int32Array.from(values), 'int32');
  const params = (...values: number[]) => ints(...float32Bits(values));
  const anyShape = () =>
    chance(15) ? pick(HUGE_EMPTY) : Array.from({ length: random(5) }, () => pick(SIZES.slice(0, 8)));
  const number = () => (chance(30) ? pick(EXTREME_FLOATS) : random(100) / 7);
  const index = (count: number) => (chance(5) ? pick(EXTREME_INTS) : random(Math.max(1, count)));

  const attention = () => {
    const groups = 1 + random(2);
    const heads = groups * (1 + random(3));
    const [width, queries, columns] = [some(), size(), some()];
    const blocks: number[] = [];
    for (let at = 0; at < queries; ) {
      const count = Math.min(queries - at, 1 + random(40));
      const ranges = Array.from({ length: 1 + random(3) }, () => {
        const start = random(columns);
        return [start, 1 + random(columns - start)];
      });
      const keys = ranges.reduce((sum, [, n]) => sum + n!, 0);
      const offset = chance(80) ? random(Math.max(1, keys - count + 1)) : pick(EXTREME_INTS);
      blocks.push(
        at,
        count,
        offset,
        chance(80) ? 1 + random(2 * keys + count) : pick(EXTREME_INTS),
        ranges.length,
        ...ranges.flat(),
      );
      at += count;
    }
    if (chance(10) && blocks.length > 0) blocks[random(blocks.length)] = pick(EXTREME_INTS);
    const key = [groups, width, columns];
    return {
      query: [heads, width, queries],
      rest: () => [floats(...key), floats(...key), ints(...blocks), params(number(), chance(50) ? 0 : number())],
    };
  };

  /** Valid inputs, mostly, of each operation, and its number of outputs. */
  // biome-ignore format: one line for each operation
  const operations: Record<string, () => [inputs: tf.Tensor[], outputs: number]> = {
    WpoProduct: () => { const k = size(); return [[floats(size(), k), floats(k, size())], 1]; },
    WpoProductNT: () => { const k = size(); return [[floats(size(), k), floats(size(), k)], 1]; },
    WpoProductTN: () => { const k = size(); return [[floats(k, size()), floats(k, size())], 1]; },
    WpoProductTT: () => { const k = size(); return [[floats(k, size()), floats(size(), k)], 1]; },
    WpoGatedProduct: () => { const [m, k] = [size(), size()]; return [[floats(m, k), floats(m, k), floats(size(), k)], 1]; },
    WpoGatedProductGrad: () => { const [k, n] = [size(), size()]; return [[floats(k, size()), floats(k, n), floats(k, n)], 1]; },
    WpoAddProduct: () => { const [m, k, n] = [size(), size(), size()]; return [[floats(m, n), floats(m, k), floats(k, n)], 1]; },
    WpoAddProductNT: () => { const [m, k, n] = [size(), size(), size()]; return [[floats(m, n), floats(m, k), floats(n, k)], 1]; },
    WpoAddProductTN: () => { const [m, k, n] = [size(), size(), size()]; return [[floats(1, m, n), floats(k, m), floats(k, n)], 1]; },
    WpoAddProductTT: () => { const [m, k, n] = [size(), size(), size()]; return [[floats(m, n), floats(k, m), floats(n, k)], 1]; },
    WpoAddGatedProductGrad: () => { const [m, k, n] = [size(), size(), size()]; return [[floats(m, n), floats(k, m), floats(k, n), floats(k, n)], 1]; },
    WpoLinearRows: () => { const k = size(); return [[floats(size(), k), floats(size(), k)], 1]; },
    WpoLinearRowsToHeads: () => { const [k, heads] = [size(), 1 + random(4)]; return [[floats(size(), k), floats(heads * some(), k), params(chance(80) ? heads : number())], 1]; },
    WpoLinearRowsFromHeads: () => { const [heads, d] = [1 + random(4), some()]; return [[floats(heads, d, size()), floats(size(), heads * d)], 1]; },
    WpoAttention: () => { const a = attention(); return [[floats(...a.query), ...a.rest()], 1]; },
    WpoAttentionGrad: () => { const a = attention(); return [[floats(...a.query), floats(...a.query), ...a.rest()], 3]; },
    WpoDecodeAttention: () => {
      const [groups, width, batch, columns] = [1 + random(2), some(), size(), some()];
      const ranges = Array.from({ length: batch }, () => { const start = index(columns); return [start, 1 + index(Math.max(1, columns - start))]; });
      const key = [groups, width, columns];
      return [[floats(groups * (1 + random(3)), width, batch), floats(...key), floats(...key), ints(...ranges.flat()), params(number(), chance(50) ? 0 : number())], 1];
    },
    WpoRmsNorm: () => { const [n, h] = [size(), size()]; return [[floats(n, h), floats(h), params(number(), random(2)), floats(n, h)], 2]; },
    WpoRmsNormGrad: () => { const [n, h] = [size(), size()]; return [[floats(n, h), floats(n, h), floats(n, 1), floats(h)], 2]; },
    WpoRope: () => { const [d, t] = [2 * random(9), size()]; return [[floats(random(4), d, t), floats(d, t), floats(d, t), chance(80) ? params(1) : params()], 1]; },
    WpoGeglu: () => { const shape = anyShape(); return [[floats(...shape), floats(...shape)], 1]; },
    WpoDropout: () => { const [n, t] = [size(), size()]; return [[floats(n, t), ints(...Array.from({ length: chance(50) ? n : t }, () => pick(EXTREME_INTS))), params(number(), number(), random(2))], 1]; },
    WpoGegluGrad: () => { const shape = anyShape(); return [[floats(...shape), floats(...shape), floats(...shape)], 2]; },
    WpoAnswerTerms: () => { const [a, v] = [size(), some()]; return [[floats(a, v), ints(...Array.from({ length: a }, () => index(v))), params(number(), random(2))], 1]; },
    WpoCapLogits: () => [[floats(...anyShape()), params(number())], 1],
    WpoAdd: () => { const shape = anyShape(); return [[floats(...shape), floats(...shape)], 1]; },
    WpoAddRows: () => { const [v, h, n] = [some(), size(), size()]; return [[floats(v, h), ints(...Array.from({ length: n }, () => index(v))), floats(n, h)], 1]; },
    WpoSpreadRows: () => { const [v, h, n] = [some(), size(), size()]; return [[ints(...Array.from({ length: n }, () => index(v))), floats(n, h), ints(chance(95) ? v : -1)], 1]; },
    WpoScaledRows: () => { const [v, h, n] = [some(), size(), size()]; return [[floats(v, h), ints(...Array.from({ length: n }, () => index(v))), params(number())], 1]; },
    WpoSetColumns: () => { const [k, d, c, n] = [random(4), size(), some(), size()]; return [[floats(k, d, c), ints(...Array.from({ length: n }, () => index(c))), floats(k, d, n)], 1]; },
    WpoFloats: () => [[ints(...Array.from({ length: size() }, () => pick(EXTREME_INTS)))], 1],
  };

  /** Replaces an input by one of another shape, or its numbers by others. */
  const damage = (inputs: tf.Tensor[], name = ''): tf.Tensor[] => {
    // these would make an output of 2³⁰ rows, if the machine has the memory
    const largest = name === 'WpoSpreadRows' ? 65536 : Number.POSITIVE_INFINITY;
    const shape = /Product|Linear/.test(name) ? Array.from({ length: random(4) }, size) : anyShape();
    const i = random(inputs.length);
    const isInts = inputs[i]!.dtype === 'int32';
    const other = isInts
      ? ints(...Array.from({ length: random(12) }, () => pick(EXTREME_INTS.filter((n) => n <= largest))))
      : floats(...shape);
    return inputs.map((input, k) => (k === i ? other : input));
  };

  /** The instruction for values that are stored in a new arena, as float32 or bfloat16 if no type is given, after some others. */
  const storedInput = (input: tf.Tensor, arenas: number[], type: StoredName = pick(['F32', 'BF16'])) => {
    const offset = random(3);
    const arena = store.allocate(4 * (input.size + offset));
    arenas.push(arena);
    const values = input.dataSync() as Float32Array;
    const numbers = type === 'I16' ? Int16Array.from(values) : type === 'U8' ? Uint8Array.from(values) : values;
    store.set(arena, offset * { F32: 4, BF16: 2, I16: 2, U8: 1 }[type], numbers, type);
    return stored(arena, offset, type, ...input.shape);
  };

  /** The shapes that an operation's outputs have, or random ones if it refuses its inputs. */
  const outputShapes = (name: string, inputs: tf.Tensor[], outputs: number): number[][] => {
    try {
      return run(name, inputs, outputs).map(({ shape }) => shape);
    } catch {
      return Array.from({ length: outputs }, () => [random(20), random(20)]);
    }
  };

  /** Updates of optimizers: how many scalars they take, and the shapes of the state of a value; type U8 or F32. */
  type State = [shape: number[], type: StoredName][];
  const update = (count: number, state: (shape: number[]) => State, isMatrix = false) => ({ count, state, isMatrix });
  const moment = (shape: number[]): State => {
    const values = shape.reduce((product, n) => product * n, 1);
    return [
      [shape, 'U8'],
      [[Math.ceil(values / 256)], 'F32'],
    ];
  };
  const updates = {
    WpoAdamW: update(8, (shape) => [
      [shape, 'F32'],
      [shape, 'F32'],
    ]),
    WpoAdamW8bit: update(520, (shape) => [...moment(shape), ...moment(shape)]),
    WpoAdamWMean8bit: update(520, (shape) => [...moment(shape), [shape, 'F32']]),
    WpoLion: update(7, (shape) => [[shape, 'F32']]),
    WpoSgd: update(3, () => []),
    WpoAdafactor: update(
      5,
      ([n, m]) => [
        [[n!], 'F32'],
        [[m!], 'F32'],
      ],
      true,
    ),
    WpoAdafactorVector: update(5, (shape) => [[shape, 'F32']]),
  };

  /** A program that updates one or two parameters, whose values are held in one of three ways. */
  const updateProgram = (name: keyof typeof updates) => {
    const { count, state, isMatrix } = updates[name];
    const held = pick(['float32', 'low bits', 'keys']);
    const parameters = 1 + random(2);
    const tensors: State = [];
    for (let i = 0; i < parameters; i++) {
      const shape = isMatrix || chance(50) ? [size(), size()] : anyShape();
      tensors.push([shape, held === 'float32' ? 'F32' : 'BF16']);
      if (held === 'low bits') tensors.push([shape, 'I16']);
      tensors.push(...state(shape), [shape, 'F32']);
    }
    if (chance(20)) tensors[random(tensors.length)] = [anyShape(), pick(['F32', 'BF16', 'I16', 'U8'])];
    const scalars = float32Bits(Array.from({ length: chance(90) ? count : random(10) }, number));
    const keys = Array.from({ length: held === 'keys' && chance(95) ? parameters : 0 }, () => pick(EXTREME_INTS));
    const arenas: number[] = [];
    const code = [1, 1, scalars.length, ...scalars, 1, 1, keys.length, ...keys];
    for (const [shape, type] of tensors) code.push(...storedInput(floats(...shape), arenas, type));
    code.push(
      2,
      operationNumber(name),
      0,
      1,
      tensors.length,
      ...tensors.map((_, i) => 2 + i),
      0,
      4,
      2 + tensors.length,
    );
    return () => {
      try {
        runProgram(code, [floats(1)], 1);
      } finally {
        for (const arena of arenas) store.free(arena);
      }
    };
  };

  /** Inputs of the operations that take a list, how many of them are before the list, and the outputs' shapes. */
  const lists: Record<string, () => [inputs: tf.Tensor[], before: number, shape: number[]]> = {
    WpoSquareSums: () => {
      const tensors = Array.from({ length: 1 + random(4) }, () => floats(...anyShape()));
      return [tensors, 0, [tensors.length]];
    },
    ...Object.fromEntries(
      Object.entries(updates).map(([name, { count, state, isMatrix }]) => [
        name,
        () => {
          const shape = isMatrix ? [size(), size()] : anyShape();
          const tensors = [shape, ...state(shape).map(([of]) => of), shape].map((of) => floats(...of));
          return [[params(...Array.from({ length: count }, number)), ints(), ...tensors], 2, []];
        },
      ]),
    ),
  };

  /** An operation's inputs, their numbers in a program, and its outputs' shapes. */
  const operation = (name: string): [inputs: tf.Tensor[], numbers: number[], shapes: number[][]] => {
    const list = lists[name]?.();
    if (list) {
      const [inputs, before, shape] = list;
      const numbers = [...inputs.keys()];
      return [inputs, [...numbers.slice(0, before), numbers.length - before, ...numbers.slice(before)], [shape]];
    }
    const [inputs, outputs] = operations[name]!();
    return [inputs, [...inputs.keys()], outputShapes(name, inputs, outputs)];
  };

  /**
   * A program: an operation of given inputs, some of them stored, with outputs that may replace stored values; in half of the programs
   * some numbers are replaced.
   */
  const program = () => {
    const name = pick([...Object.keys(operations), ...Object.keys(lists)].filter(hasOperation));
    const [inputs, numbers, shapes] = operation(name);
    const code: number[] = [];
    const tensors: tf.Tensor[] = [];
    const arenas: number[] = [];
    for (const input of inputs) {
      if (input.dtype === 'int32') code.push(1, input.rank, ...input.shape, ...input.dataSync());
      else if (chance(30)) code.push(...storedInput(input, arenas));
      else if (chance(20)) {
        code.push(BF16_TENSOR, input.rank, ...input.shape);
        tensors.push(floats(Math.ceil(input.size / 2)));
      } else {
        code.push(0);
        tensors.push(input);
      }
    }
    const replaced = new Map<number, number>(); // the stored values that outputs replace
    for (const [i, shape] of shapes.entries()) {
      if (!chance(30)) continue;
      replaced.set(i, inputs.length + replaced.size);
      code.push(...storedInput(floats(...shape), arenas));
    }
    code.push(chance(50) ? RUN : RUN_BF16, operationNumber(name), ...numbers);
    for (const [i, shape] of shapes.entries()) {
      if (replaced.has(i)) code.push(-1, replaced.get(i)!);
      else code.push(...(chance(30) ? [BFLOAT16] : []), shape.length, ...shape);
    }
    if (!replaced.has(0)) code.push(4, inputs.length + replaced.size);
    for (let edits = chance(50) ? 1 + random(3) : 0; edits > 0; edits--)
      code[random(code.length)] = chance(50) ? pick(EXTREME_INTS) : random(20);
    return () => {
      try {
        runProgram(code, tensors.length > 0 ? tensors : [floats(1)], Number(!replaced.has(0)));
      } finally {
        for (const arena of arenas) store.free(arena);
      }
    };
  };

  const names = [
    ...Object.keys(operations).filter(hasOperation),
    'WpoSquareSums',
    'WpoProgram',
    ...Object.keys(updates).filter(hasOperation),
  ];
  const counts: Counts = {};
  for (let call = 0; call < calls; call++) {
    const name = names[call % names.length]!;
    counts[name] ??= { returned: 0, refused: 0 };
    tf.tidy(() => {
      let act: () => unknown;
      if (name === 'WpoProgram') act = program();
      else if (name === 'WpoSquareSums') {
        const tensors = Array.from({ length: 1 + random(4) }, () => floats(...anyShape()));
        act = () => runOver(name, [], tensors);
      } else if (name in updates) act = updateProgram(name as keyof typeof updates);
      else {
        const [valid, outputs] = operations[name]!();
        const inputs = chance(30) ? damage(valid, name) : valid;
        onCall(
          `call ${call}: ${name} ${JSON.stringify(inputs.map((input) => [input.dtype, input.shape, input.dtype === 'int32' ? [...input.dataSync()].slice(0, 60) : 0]))}`,
        );
        act = () => run(name, inputs, outputs);
      }
      try {
        act();
        counts[name]!.returned += 1;
      } catch (error) {
        if (!(error instanceof Error && error.message.includes(name))) throw error;
        counts[name]!.refused += 1;
      }
    });
  }
  return counts;
}
