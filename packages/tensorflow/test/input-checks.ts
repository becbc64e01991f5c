import '@wpo/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { expect, test } from 'vitest';
import { float32Bits, hasOperation, run } from '../src/kernels/native';
import { runOver } from './run-over';

const ints = (...values: number[]) => tf.tensor1d(Int32Array.from(values), 'int32');
const params = (...values: number[]) => ints(...float32Bits(values));
const attention = (blocks: number[], q = tf.zeros([2, 4, 3]), k = tf.zeros([1, 4, 5]), v = k) => [
  ...[q, k, v, ints(...blocks), params(1, 0)],
];
const fusedGradient = (o: tf.Tensor, logSums: tf.Tensor) => {
  const [q, k, v, ...numbers] = attention([0, 3, 2, 9, 1, 0, 5], tf.zeros([2, 32, 3]), tf.zeros([1, 32, 5]));
  return [q!, q!, k!, v!, o, logSums, ...numbers];
};
const decode = (ranges: number[], q = tf.zeros([2, 4, 2])) => [
  ...[q, tf.zeros([1, 4, 5]), tf.zeros([1, 4, 5]), ints(...ranges), params(1, 0)],
];
const x = () => tf.ones([2, 3]);

type Case = readonly [what: string, name: string, inputs: () => tf.Tensor[], message: string, outputs?: number];

const CASES: readonly Case[] = [
  // products
  ['inner sizes that differ', 'WpoProduct', () => [x(), x()], 'inner sizes are equal, found 2 x 3 by 2 x 3'],
  ['a vector for a matrix', 'WpoProduct', () => [tf.ones([3]), x()], 'expected matrices, found shape [3]'],
  ['a scalar for a matrix', 'WpoProductTT', () => [tf.scalar(1), tf.scalar(1)], 'expected matrices, found shape []'],
  ['gate and up of different shapes', 'WpoGatedProduct', () => [x(), tf.ones([3, 2]), x()], 'gate and up of one shape'],
  [
    'gate and up of different shapes',
    'WpoGatedProductGrad',
    () => [x(), x(), tf.ones([3, 2])],
    'gate and up of one shape',
  ],
  [
    'a product of depth 0 with 2⁴² values',
    'WpoProduct',
    () => [tf.ones([2 ** 21, 0]), tf.ones([0, 2 ** 21])],
    'at most',
  ],
  [
    'a sum of another size',
    'WpoAddProduct',
    () => [tf.ones([2, 3]), x(), tf.ones([3, 2])],
    "product's size 2 x 2, found [2, 3]",
  ],
  ['inner sizes that differ', 'WpoAddProductTT', () => [x(), x(), x()], 'inner sizes are equal, found 3 x 2 by 3 x 2'],
  ['a vector for a matrix', 'WpoAddProductNT', () => [x(), x(), tf.ones([3])], 'found shape [3] as input 2'],
  ['a sum of another size', 'WpoAddGatedProductGrad', () => [x(), x(), x(), x()], "product's size 3 x 3, found [2, 3]"],
  [
    'gate and up of different shapes',
    'WpoAddGatedProductGrad',
    () => [x(), x(), x(), tf.ones([3, 2])],
    'gate and up of one shape',
  ],
  ['heads that do not divide', 'WpoLinearRowsToHeads', () => [x(), x(), params(5)], 'divides 2 features, found 5'],
  ['heads that are NaN', 'WpoLinearRowsToHeads', () => [x(), x(), params(Number.NaN)], 'found nan'],
  ['no heads', 'WpoLinearRowsToHeads', () => [x(), x(), params(0)], 'divides 2 features, found 0'],
  ['half a head', 'WpoLinearRowsToHeads', () => [x(), x(), params(1.5)], 'divides 2 features, found 1.5'],
  [
    'two numbers of heads',
    'WpoLinearRowsToHeads',
    () => [x(), x(), params(1, 1)],
    'expected 1 parameters (heads), found 2',
  ],
  // attention: start, count, position offset, window, ranges, then start and count of each
  ['a block cut short', 'WpoAttention', () => attention([0, 3, 2, 9]), 'query block 0: expected 5 numbers'],
  ['a range cut short', 'WpoAttention', () => attention([0, 3, 2, 9, 2, 0, 5]), 'found 2 numbers for 2 ranges'],
  ['no ranges', 'WpoAttention', () => attention([0, 3, 2, 9, 0]), 'at least one key range'],
  ['2³¹ − 1 ranges', 'WpoAttention', () => attention([0, 3, 2, 9, 2 ** 31 - 1, 0, 5]), 'for 2147483647 ranges'],
  ['keys past the last', 'WpoAttention', () => attention([0, 3, 2, 9, 1, 1, 5]), 'within 5 columns, found 5 from 1'],
  ['keys before the first', 'WpoAttention', () => attention([0, 3, 2, 9, 1, -1, 5]), 'found 5 from -1'],
  ['no keys', 'WpoAttention', () => attention([0, 3, 0, 9, 1, 0, 0]), 'expected 1 to 2^30 keys, found 0'],
  ['queries left over', 'WpoAttention', () => attention([0, 2, 2, 9, 1, 0, 5]), 'all 3 queries, found 2'],
  ['queries that do not exist', 'WpoAttention', () => attention([0, 4, 1, 9, 1, 0, 5]), 'found 4 from 0'],
  ['queries out of order', 'WpoAttention', () => attention([1, 2, 2, 9, 1, 0, 5]), 'found 2 from 1'],
  ['no query blocks', 'WpoAttention', () => attention([]), 'all 3 queries, found 0'],
  ['a query without a key', 'WpoAttention', () => attention([0, 3, 9, 2, 1, 0, 5]), 'each query to see a key'],
  ['a window of 0', 'WpoAttention', () => attention([0, 3, 2, 0, 1, 0, 5]), 'found window 0'],
  ['a window past 2³⁰', 'WpoAttention', () => attention([0, 3, 2, 2 ** 31 - 1, 1, 0, 5]), 'found window 2147483647'],
  ['a negative position', 'WpoAttention', () => attention([0, 3, -1, 9, 1, 0, 5]), 'position offset -1'],
  [
    'heads that are not a multiple of groups',
    'WpoAttention',
    () => attention([0, 3, 2, 9, 1, 0, 5], tf.zeros([2, 4, 3]), tf.zeros([3, 4, 5])),
    'multiple of groups',
  ],
  ['no heads', 'WpoAttention', () => attention([0, 3, 2, 9, 1, 0, 5], tf.zeros([0, 4, 3])), 'multiple of groups'],
  [
    'no groups',
    'WpoAttention',
    () => attention([0, 3, 2, 9, 1, 0, 5], tf.zeros([2, 4, 3]), tf.zeros([0, 4, 5])),
    'multiple of groups',
  ],
  [
    'a head width that differs',
    'WpoAttention',
    () => attention([0, 3, 2, 9, 1, 0, 5], tf.zeros([2, 6, 3])),
    'expected q [heads, D, T]',
  ],
  [
    'keys and values of different shapes',
    'WpoAttention',
    () => attention([0, 3, 2, 9, 1, 0, 5], tf.zeros([2, 4, 3]), tf.zeros([1, 4, 5]), tf.zeros([1, 4, 6])),
    'k and v [groups, D, S]',
  ],
  [
    'dy of another shape',
    'WpoAttentionGrad',
    () => [tf.zeros([2, 4, 2]), ...attention([0, 3, 2, 9, 1, 0, 5])],
    "dy of q's shape",
    3,
  ],
  [
    'three ranges of keys',
    'WpoFusedAttention',
    () => attention([0, 3, 6, 99, 3, 0, 2, 3, 2, 6, 3], tf.zeros([2, 32, 3]), tf.zeros([1, 32, 9])),
    'expected queries that see at most two ranges of keys',
    2,
  ],
  [
    'a head size without kernels',
    'WpoFusedAttention',
    () => attention([0, 3, 2, 9, 1, 0, 5], tf.zeros([2, 48, 3]), tf.zeros([1, 48, 5])),
    'expected a head size for which this GPU has fused attention, found 48',
    2,
  ],
  [
    'an output of another shape',
    'WpoFusedAttentionGrad',
    () => fusedGradient(tf.zeros([2, 32, 2]), tf.zeros([2, 3])),
    "dy and o of q's shape",
    3,
  ],
  [
    'log-sums of other queries',
    'WpoFusedAttentionGrad',
    () => fusedGradient(tf.zeros([2, 32, 3]), tf.zeros([2, 2])),
    'expected a log-sum of each of 6 rows, found 4',
    3,
  ],
  [
    'no heads',
    'WpoAttentionGrad',
    () => [tf.zeros([0, 4, 3]), ...attention([0, 3, 2, 9, 1, 0, 5], tf.zeros([0, 4, 3]))],
    'multiple of groups',
    3,
  ],
  [
    'no features',
    'WpoAttention',
    () => attention([0, 3, 2, 9, 1, 0, 5], tf.zeros([2, 0, 3]), tf.zeros([1, 0, 5])),
    'D above 0',
  ],
  ['a range missing', 'WpoDecodeAttention', () => decode([0, 5]), 'for each of 2 queries, found 2 numbers'],
  [
    'keys past the last',
    'WpoDecodeAttention',
    () => decode([0, 5, 1, 5]),
    'query 1: expected at least one key within 5',
  ],
  ['no keys', 'WpoDecodeAttention', () => decode([0, 0, 0, 5]), 'query 0: expected at least one key'],
  ['2³¹ − 1 keys', 'WpoDecodeAttention', () => decode([0, 2 ** 31 - 1, 0, 5]), 'found 2147483647 from 0'],
  // elementwise
  [
    'a weight of another width',
    'WpoRmsNorm',
    () => [x(), tf.ones([2]), params(1e-6, 0), x()],
    "x's width 3, found [2]",
    2,
  ],
  [
    'a residual of another shape',
    'WpoRmsNorm',
    () => [x(), tf.ones([3]), params(1e-6, 1), tf.ones([2])],
    "residual of x's shape [2, 3]",
    2,
  ],
  ['no epsilon', 'WpoRmsNorm', () => [x(), tf.ones([3]), params(), x()], 'expected 2 parameters', 2],
  ['r of another size', 'WpoRmsNormGrad', () => [x(), x(), tf.ones([3]), tf.ones([3])], 'r [n, 1]', 2],
  ['an odd head width', 'WpoRope', () => [tf.ones([2, 3, 4]), tf.ones([3, 4]), tf.ones([3, 4]), params(1)], 'even D'],
  [
    'a rotary table of another size',
    'WpoRope',
    () => [tf.ones([2, 4, 4]), tf.ones([4, 3]), tf.ones([4, 4]), params(1)],
    'cos and sin [D, T]',
  ],
  [
    'no direction',
    'WpoRope',
    () => [tf.ones([2, 4, 4]), tf.ones([4, 4]), tf.ones([4, 4]), params()],
    'expected 1 parameters (direction), found 0',
  ],
  [
    'a key missing',
    'WpoDropout',
    () => [x(), ints(1), params(0, 1, 0)],
    'expected a key for each of 2 tokens, found 1',
  ],
  [
    'a key too many',
    'WpoDropout',
    () => [x(), ints(1, 2, 3, 4), params(0, 1, 1)],
    'expected a key for each of 3 tokens, found 4',
  ],
  ['two parameters', 'WpoDropout', () => [x(), ints(1, 2), params(0, 1)], 'expected 3 parameters'],
  ['gate and up of different shapes', 'WpoGeglu', () => [x(), tf.ones([2, 4])], 'found [2, 3] and [2, 4]'],
  [
    'dy, gate and up of different sizes',
    'WpoGegluGrad',
    () => [x(), x(), tf.ones([2, 4])],
    'dy, gate and up of one size',
    2,
  ],
  [
    'a target past the vocabulary',
    'WpoAnswerTerms',
    () => [x(), ints(0, 3), params(30, 0)],
    'target 1: expected an index from 0 to 2, found 3',
  ],
  [
    'a negative target',
    'WpoAnswerTerms',
    () => [x(), ints(-1, 0), params(30, 0)],
    'target 0: expected an index from 0 to 2, found -1',
  ],
  ['a target missing', 'WpoAnswerTerms', () => [x(), ints(0), params(30, 0)], 'for each of 2 rows, found 1'],
  ['a cap of 0', 'WpoCapLogits', () => [x(), params(0)], 'expected a cap above 0, found 0'],
  ['a cap of NaN', 'WpoCapLogits', () => [x(), params(Number.NaN)], 'expected a cap above 0, found nan'],
  ['tensors of different sizes', 'WpoAdd', () => [x(), tf.ones([2])], 'tensors of one size, found [2, 3] and [2]'],
  [
    'a row past the last',
    'WpoAddRows',
    () => [x(), ints(2), tf.ones([1, 3])],
    'row 0: expected an index from 0 to 1, found 2',
  ],
  ['a negative row', 'WpoAddRows', () => [x(), ints(-1), tf.ones([1, 3])], 'found -1'],
  [
    'rows missing',
    'WpoAddRows',
    () => [x(), ints(0, 1), tf.ones([1, 3])],
    'a row of 3 values for each of 2 indices, found [1, 3]',
  ],
  [
    'a negative row count',
    'WpoSpreadRows',
    () => [ints(0), tf.ones([1, 3]), ints(-1)],
    'row count of 0 or more, found -1',
  ],
  [
    'a row past the last',
    'WpoSpreadRows',
    () => [ints(4), tf.ones([1, 3]), ints(4)],
    'row 0: expected an index from 0 to 3, found 4',
  ],
  [
    'a row past the last',
    'WpoScaledRows',
    () => [x(), ints(0, 2 ** 31 - 1), params(1)],
    'row 1: expected an index from 0 to 1',
  ],
  ['two factors', 'WpoScaledRows', () => [x(), ints(0), params(1, 2)], 'expected 1 parameters (factor), found 2'],
  [
    'a column past the last',
    'WpoSetColumns',
    () => [tf.ones([1, 2, 3]), ints(3), tf.ones([1, 2, 1])],
    'column 0: expected an index from 0 to 2, found 3',
  ],
  [
    '2⁶⁰ rows without a value',
    'WpoSetColumns',
    () => [tf.zeros([2 ** 30, 2 ** 30, 0]), ints(), tf.zeros([1, 0])],
    'expected a tensor of at most',
  ],
  [
    'values missing',
    'WpoSetColumns',
    () => [tf.ones([1, 2, 3]), ints(1), tf.ones([1])],
    'values of 2 rows for each of 1 columns',
  ],
  // a file that is not open; [file, offset in 2³⁰, rest of it, bytes of a value, dimensions …]
];

/** Tests that malformed inputs of the loaded native operations are JavaScript errors that name the operation. */
export function testInputChecks(): void {
  test.each(CASES.map((one) => [`${one[1]}: ${one[0]}`, one] as const))(
    'refuses %s',
    (_, [, name, inputs, message, outputs = 1]) => {
      if (!hasOperation(name)) return;
      const scoped = () => tf.tidy(() => void run(name, inputs(), outputs));
      // on the emulated GPU, the copy of a tensor to the device may refuse it first
      expect(scoped).toThrow(new RegExp(`(${name}|WpoFloats): `));
      expect(scoped).toThrow(message);
    },
  );

  test('refuses AdamW tensors that are not four of one size for each parameter', () => {
    const scalars = () => params(1, 0.1, 0.99, 0.01, 1e-8, 1, 1, 1);
    const adamw = (numbers: tf.Tensor, tensors: tf.Tensor[]) =>
      tf.tidy(() => void runOver('WpoAdamW', [numbers, ints()], tensors));
    expect(() => adamw(scalars(), [x(), x(), x()])).toThrow('WpoAdamW: expected 4 tensors for each parameter, found 3');
    expect(() => adamw(scalars(), [x(), x(), x(), tf.ones([4])])).toThrow(
      'expected value, moments and gradient of parameter 0 with shape [2, 3] to have 6 values in tensor 3, found [4]',
    );
    expect(() => adamw(params(1), [x(), x(), x(), x()])).toThrow('expected 8 parameters');
  });

  test('refuses states of optimizers that do not belong to the value', () => {
    const update = (name: string, scalars: number, sizes: number[][]) => {
      if (!hasOperation(name)) return;
      const numbers = params(...Array(scalars).fill(0.5));
      tf.tidy(
        () =>
          void runOver(
            name,
            [numbers, ints()],
            sizes.map((shape) => tf.ones(shape)),
          ),
      );
    };
    const cases: [string, number, number[][], string][] = [
      [
        'WpoLion',
        7,
        [
          [2, 3],
          [2, 3],
        ],
        'expected 3 tensors for each parameter, found 2',
      ],
      ['WpoLion', 7, [[2, 3], [2, 3], [5]], 'to have 6 values in tensor 2, found [5]'],
      ['WpoSgd', 3, [[2, 3], [7]], 'to have 6 values in tensor 1, found [7]'],
      ['WpoAdafactor', 5, [[6], [2], [3], [6]], 'expected a matrix, found a value of shape [6]'],
      ['WpoAdafactor', 5, [[2, 3], [3], [3], [2, 3]], 'to have 2 values in tensor 1, found [3]'],
      ['WpoAdafactor', 5, [[2, 3], [2], [2], [2, 3]], 'to have 3 values in tensor 2, found [2]'],
      ['WpoAdafactorVector', 5, [[6], [5], [6]], 'to have 6 values in tensor 1, found [5]'],
      ['WpoAdamW8bit', 520, [[300], [75], [2], [300], [2], [300]], 'to have 300 values in tensor 1, found [75]'],
      ['WpoAdamW8bit', 520, [[300], [300], [2], [300], [2], [300]], 'expected tensor 1 of parameter 0 in uint8, found'],
      ['WpoAdamW8bit', 8, [[300], [300], [2], [300], [2], [300]], 'expected 520 parameters'],
    ];
    for (const [name, scalars, sizes, message] of cases) {
      if (hasOperation(name)) expect(() => update(name, scalars, sizes), name).toThrow(message);
    }
  });

  test('reports an output that does not fit in memory, and the process continues', () => {
    const huge = () => tf.tidy(() => void run('WpoSpreadRows', [ints(0), tf.ones([1, 2 ** 9]), ints(2 ** 30)], 1));
    expect(huge).toThrow(/WpoSpreadRows: out of memory: could not allocate 2199023255552 bytes/);
    expect(tf.tidy(() => run('WpoAdd', [x(), x()], 1)[0]!.shape)).toEqual([]);
  });

  test('accepts empty tensors', () => {
    tf.tidy(() => {
      // 2⁴⁰ rows without a value: a loop over them would not end
      expect(run('WpoSetColumns', [tf.zeros([2 ** 20, 2 ** 20, 0]), ints(), tf.zeros([0])], 1)[0]!.shape).toEqual([]);
      expect(run('WpoLinearRows', [tf.zeros([2 ** 20, 2 ** 20, 0]), tf.zeros([0, 0])], 1)).toHaveLength(1);
      const none = tf.zeros([0, 3]);
      expect(run('WpoRmsNormGrad', [none, none, tf.zeros([0, 1]), tf.ones([3])], 2)[1]!.dataSync()).toEqual(
        new Float32Array(3),
      );
      expect(run('WpoRmsNorm', [none, tf.ones([3]), params(1e-6, 0), none], 2)[0]!.shape).toEqual([0, 3]);
      expect(run('WpoScaledRows', [x(), ints(), params(1)], 1)[0]!.shape).toEqual([0, 3]);
      expect(run('WpoLinearRows', [none, x()], 1)[0]!.shape).toEqual([0, 2]);
      expect(run('WpoGeglu', [none, none], 1)[0]!.shape).toEqual([0, 3]);
      expect(run('WpoAnswerTerms', [none, ints(), params(30, 1)], 1)[0]!.shape).toEqual([0, 4]);
      expect(run('WpoRope', [tf.zeros([0, 2, 3]), tf.ones([2, 3]), tf.ones([2, 3]), params(1)], 1)[0]!.shape).toEqual([
        0, 2, 3,
      ]);
      const [dq, dk] = run(
        'WpoAttentionGrad',
        [tf.zeros([1, 2, 0]), ...attention([], tf.zeros([1, 2, 0]), tf.ones([1, 2, 3]))],
        3,
      );
      expect([dq!.shape, Array.from(dk!.dataSync())]).toEqual([
        [1, 2, 0],
        [0, 0, 0, 0, 0, 0],
      ]);
    });
  });
}
