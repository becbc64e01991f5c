import * as tf from '@tensorflow/tfjs-core';
import {
  type Geglu,
  gatherRows,
  gegluLinearWith,
  type Kernels,
  type OpResult,
  portableKernels,
  type RotaryTables,
} from '@wpo/gemma';
import { answerLogpsWith, type LogitLimits } from '../answer-logps';
import { termsOfLogits } from './answer-terms';
import { operate } from './operation';
import { addRows, sum } from './sums';

// TensorFlow's own operations where they do at once, or in place, what tfjs does in several: only such as it has for GPUs too.

/** x cos ± swapped x sin: the sine of one half is that of the other negated, so the way back is the other sign. */
function rope(x: tf.Tensor3D, tables: RotaryTables): OpResult {
  const [cos, sin] = [tables.cos as tf.Tensor2D, tables.sin as tf.Tensor2D];
  const turn = (value: tf.Tensor, add: typeof tf.add) =>
    tf.tidy(() => add(tf.mul(value, cos), tf.mul(swapHalves(value), sin)));
  return {
    output: turn(x, tf.add),
    inputsForBackward: [],
    saved: [],
    backward: (dy: tf.Tensor3D) => [turn(dy, tf.sub)],
  };
}

const swapHalves = (x: tf.Tensor) =>
  operate('Roll', [x, tf.tensor1d([x.shape[1]! / 2], 'int32'), tf.tensor1d([1], 'int32')], {
    T: 'float32',
    Tshift: 'int32',
    Taxis: 'int32',
  });

const LINEAR = 2 * Math.sqrt(2 / Math.PI);
const CUBIC = LINEAR * 0.044715;

/**
 * g σ(z) u, z = g (LINEAR + CUBIC g²). With z′ = dz/dg: dg = dy u (σ + g z′ σ (1 − σ)), and g z′ = 3 z − 2 LINEAR g.
 * SoftplusGrad(a, z) is a σ(z), and SigmoidGrad(σ, a) is a σ (1 − σ).
 */
const geglu: Geglu = {
  forward: (gate, up) => tf.tidy(() => tf.mul(operate('SoftplusGrad', [gate, insideOf(gate)]), up)),
  backward: (dy, gate, up) =>
    tf.tidy(() => {
      const z = insideOf(gate);
      const gated = tf.sigmoid(z);
      const slope = tf.sub(tf.mul(z, 3), tf.mul(gate, 2 * LINEAR)); // g z′
      const dGelu = tf.add(gated, operate('SigmoidGrad', [gated, slope]));
      return [tf.mul(tf.mul(dy, up), dGelu), tf.mul(dy, tf.mul(gate, gated))];
    }),
};

/** z. */
const insideOf = (gate: tf.Tensor2D) => tf.mul(gate, tf.add(tf.mul(tf.square(gate), CUBIC), LINEAR));

/** Three temporaries of up to 256 MB each; 512 MB kept. */
const LIMITS: LogitLimits = { train: 1 << 26, forward: 1 << 24, kept: 1 << 27 };

/** The operations over TensorFlow's own; only tests give limits of their own. */
export const raw = (limits = LIMITS): Kernels => ({
  ...portableKernels,
  rope,
  gegluLinear: gegluLinearWith(geglu),
  add: sum,
  addRows,
  answerLogps: answerLogpsWith({ termsOf: termsOfLogits, product: tf.matMul, pick: gatherRows }, limits),
});
