import '@wpo/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { type Kernels, type OpResult, parameter, portableBf16Kernels, portableKernels } from '@wpo/gemma';
import { nativeOperations, tensorflowKernels } from '@wpo/tensorflow/kernels';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { operationNumber, runProgram } from '../src/kernels/native';
import { normal, values } from './kernel-properties';
import { roundToBf16 } from './stored';
import { BF16_ISAS, limitIsa } from './tiers';

nativeOperations();

const RUN_BF16 = 6; // of native/runtime/program.h

/** An operation of two inputs whose products are of bfloat16. */
const run = (name: string, [a, b]: readonly [tf.Tensor, tf.Tensor], shape: readonly number[]) =>
  runProgram([0, 0, RUN_BF16, operationNumber(name), 0, 1, shape.length, ...shape, 4, 2], [a, b], 1)[0] as tf.Tensor2D;

const rms = (x: tf.Tensor) => Math.sqrt(tf.mean(tf.square(x)).dataSync()[0]!);
const apart = (a: unknown, b: unknown) => rms(tf.sub(values(a), values(b)));

describe.each(BF16_ISAS)('products of bfloat16 limited to %s', (isa) => {
  limitIsa(isa);

  test('are float32 products of rounded operands, for any shapes', () => {
    const side = fc.oneof(fc.integer({ min: 1, max: 70 }), fc.integer({ min: 1, max: 300 }));
    const depth = fc.oneof(side, fc.integer({ min: 500, max: 1300 }));
    const form = fc.constantFrom('', 'NT', 'TN', 'TT');
    fc.assert(
      fc.property(form, side, depth, side, fc.nat(1e6), (form, m, k, n, seed) =>
        tf.tidy(() => {
          const [transposeA, transposeB] = [form[0] === 'T', form[1] === 'T'];
          const a = normal(transposeA ? [k, m] : [m, k], seed) as tf.Tensor2D;
          const b = normal(transposeB ? [n, k] : [k, n], seed + 1) as tf.Tensor2D;
          const found = run(`WpoProduct${form}`, [a, b], [m, n]);
          const expected = tf.matMul(roundToBf16(a), roundToBf16(b), transposeA, transposeB);
          const worst = tf.max(tf.abs(tf.sub(found, expected))).dataSync()[0]!;
          expect(worst, `${form} ${m} x ${k} x ${n}`).toBeLessThan(1e-5 * Math.sqrt(k));
          if (k > 1) return;
          expect(found.dataSync()).toEqual(expected.dataSync()); // of one depth: nothing is rounded but the operands
        }),
      ),
      { numRuns: 60 },
    );
  });

  test('round operands to the nearest bfloat16, ties to even', () => {
    tf.tidy(() => {
      const ties = [1 + 2 ** -8, 1 + 3 * 2 ** -8, -1 - 2 ** -8, 1 + 2 ** -8 + 2 ** -20, 3.3e38, 1e-30];
      const x = tf.tensor2d(ties, [ties.length, 1]);
      const expected = [1, 1 + 2 ** -6, -1, 1 + 2 ** -7, ...(roundToBf16(x).dataSync() as Float32Array).slice(4)];
      for (const name of ['WpoProduct', 'WpoLinearRows']) {
        expect(Array.from(run(name, [x, tf.ones([1, 1])], [ties.length, 1]).dataSync())).toEqual(expected);
      }
    });
  });

  test('give a row the same bits, whatever other rows there are', () => {
    tf.tidy(() => {
      const [a, b] = [normal([300, 1500], 5) as tf.Tensor2D, normal([65, 1500], 6)];
      const whole = run('WpoProductNT', [a, b], [300, 65]);
      for (const [first, rows] of [
        [0, 1],
        [7, 20],
        [130, 170],
      ] as const) {
        const part = run('WpoProductNT', [tf.slice(a, [first, 0], [rows, 1500]), b], [rows, 65]);
        expect(part.dataSync()).toEqual(tf.slice(whole, [first, 0], [rows, 65]).dataSync());
      }
    });
  });

  test('carry NaN and infinity to the values that depend on them, and to no other', () => {
    tf.tidy(() => {
      const rows = Array.from({ length: 20 }, (_, i) => Array.from({ length: 33 }, () => (i === 3 ? Number.NaN : 1)));
      rows[5]![32] = Number.POSITIVE_INFINITY;
      const result = run('WpoProduct', [tf.tensor2d(rows), tf.ones([33, 40])], [20, 40]).dataSync();
      for (let i = 0; i < 20; i++) {
        const expected = i === 3 ? Number.NaN : i === 5 ? Number.POSITIVE_INFINITY : 33;
        expect(result.subarray(i * 40, (i + 1) * 40).every((value) => Object.is(value, expected))).toBe(true);
      }
    });
  });

  // Operands that are computed first may differ by a float32 rounding, and once rounded to bfloat16 by a bit, but few do.
  test('of GeGLU, attention and the head are nearer to the rounded portable kernels than a tenth of the rounding', async () => {
    const native = tensorflowKernels({ precision: 'bfloat16' });
    const compare = (operation: (kernels: Kernels) => OpResult) => {
      const outcome = (kernels: Kernels) => {
        const { output, backward } = operation(kernels);
        return [output, ...backward(normal([...output.shape], 9))];
      };
      const [found, expected, exact] = [native, portableBf16Kernels, portableKernels].map(outcome);
      for (const [i, value] of expected!.entries()) {
        expect(apart(found![i], value)).toBeLessThan(0.1 * apart(exact![i], value));
      }
    };
    tf.engine().startScope();
    compare((kernels) => {
      const weight = parameter('w', normal([40, 90], 3, 0.3), { kernels });
      return kernels.gegluLinear(normal([60, 90], 1), normal([60, 90], 2), weight);
    });
    const blocks = [{ start: 0, count: 70, keyRanges: [{ start: 0, count: 70 }], positionOffset: 0, window: 50 }];
    for (const softcap of [null, 50]) {
      compare(({ attention }) =>
        attention(normal([4, 16, 70], 4), normal([2, 16, 70], 5), normal([2, 16, 70], 6), blocks, {
          scale: 0.25,
          softcap,
        }),
      );
    }
    const targets = Int32Array.from({ length: 30 }, (_, i) => i * 7);
    const head = async (kernels: Kernels) => {
      const table = parameter('e', normal([300, 40], 7), { kernels });
      const { logps, backward } = await kernels.answerLogps(
        normal([30, 40], 8) as tf.Tensor2D,
        table,
        targets,
        30,
        true,
      );
      return [logps, await backward(normal([30], 9) as tf.Tensor1D)];
    };
    const [found, expected, exact] = await Promise.all([native, portableBf16Kernels, portableKernels].map(head));
    for (const [i, value] of expected!.entries()) {
      expect(apart(found![i], value)).toBeLessThan(0.1 * apart(exact![i], value));
    }
    tf.engine().endScope();
  });
});
