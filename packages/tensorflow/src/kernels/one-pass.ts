import * as tf from '@tensorflow/tfjs-core';
import type { AttentionScale, AttentionSpan, Kernels, Result, Rotation, Value, Weight } from '@wpo/gemma';
import { type Operand, Program } from './program';
import { isSingle, scaleNumbers, singleLayout, spansLayout } from './spans';

/**
 * Operations for one pass of few rows, as generation makes for each token: noted down as they are called, and run as one
 * when `logits` asks for the result. No gradients.
 */
export function onePass() {
  const program = new Program();
  const run = (...operation: Parameters<Program['run']>): Result => later(program.run(...operation));
  const weight = (w: Weight) => w.value() as tf.Tensor;
  const scaledRows = (x: Operand, indices: Int32Array, factor: number) => {
    const inputs = [x, program.ints(indices), program.numbers(factor)];
    return run('WpoScaledRows', inputs, [indices.length, x.shape[1]!]);
  };
  const linear = (x: Operand, w: Weight) => program.run('WpoLinearRows', [x, weight(w)], [x.shape[0]!, w.shape[0]!]);
  return {
    embed: (table, ids, scale) => scaledRows(weight(table), ids, scale),
    rows: (x: Operand, indices: Int32Array) => scaledRows(x, indices, 1),
    linear: (x: Operand, w: Weight) => later(linear(x, w)),
    linearToHeads(x: Operand, w: Weight, heads: number) {
      const shape = [heads, w.shape[0]! / heads, x.shape[0]!];
      return run('WpoLinearRowsToHeads', [x, weight(w), program.numbers(heads)], shape);
    },
    linearFromHeads: (x: Operand, w: Weight) =>
      run('WpoLinearRowsFromHeads', [x, weight(w)], [x.shape[2]!, w.shape[0]!]),
    rmsNorm(x: Operand, w: Weight, epsilon: number, residual?: Value) {
      const how = program.numbers(epsilon, Number(residual !== undefined));
      return run('WpoRmsNorm', [x, weight(w), how, (residual as Operand | undefined) ?? x], x.shape, 2);
    },
    rope: (x: Operand, { cos, sin }: Rotation) =>
      run('WpoRope', [x, cos as Operand, sin as Operand, program.numbers(1)], x.shape),
    attention(q: Operand, k: Operand, v: Operand, spans: readonly AttentionSpan[], scale: AttentionScale) {
      const single = isSingle(spans, q.shape[2]!);
      const layout = program.ints(single ? singleLayout(spans) : spansLayout(spans));
      const inputs = [q, k, v, layout, program.numbers(...scaleNumbers(scale))];
      return run(single ? 'WpoAttendOne' : 'WpoAttendSpans', inputs, q.shape);
    },
    gatedLinear(gate: Operand, up: Operand, w: Weight) {
      const gated = program.run('WpoGeglu', [gate, up], gate.shape);
      const value = linear(gated, w);
      gated.dispose();
      return later(value);
    },
    setColumns(total: tf.Tensor | null, columns: Int32Array, values: Operand, count: number) {
      const into = total ?? tf.zeros([values.shape[0]!, values.shape[1]!, count]);
      program.run('WpoSetColumns', [into, program.ints(columns), values], []).dispose();
      return into;
    },
    logits(hidden: Operand, table: Weight, cap: number | null) {
      const raw = linear(hidden, table);
      if (cap !== null) program.run('WpoCapLogits', [raw, program.numbers(cap)], raw.shape);
      return program.result() as tf.Tensor2D;
    },
  } satisfies Partial<Kernels>;
}

const later = (value: Value): Result => ({ value, reads: [], saved: [], backward: noGradient });

function noGradient(): never {
  throw new Error('a pass for generation has no gradients; make it with kernels that are not for one pass');
}
