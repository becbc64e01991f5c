import * as tf from '@tensorflow/tfjs-core';
import { answerLogps } from './answer-logps';
import { attention } from './attention';
import type { Kernels, OpResult, Value, Weight } from './contract';
import { portableKernels } from './portable';

/**
 * Rounds to the nearest bfloat16, ties to even: `[…]` → `[…]`. It uses float32 arithmetic only, because tfjs has no bfloat16 and
 * no access to bits. Values from 2^100 on, and those below 2^-118, which products may read as zeros, are left as they are.
 *
 * 2^23 · x is too large for x's last 23 bits: (2^23 + 1) · x − 2^23 · x is x rounded to one bit, p or 2 p (Veltkamp's splitting).
 * In the same way, adding 1.5 · 2^16 · p rounds x to the 8 bits of a bfloat16.
 */
export const roundToBf16 = <T extends tf.Tensor>(x: T): T =>
  tf.tidy(() => {
    const scaled = tf.mul(x, 2 ** 23 + 1);
    const oneBit = tf.sub(scaled, tf.sub(scaled, x));
    const power = tf.where(tf.greater(tf.abs(oneBit), tf.abs(x)), tf.div(oneBit, 2), oneBit);
    const offset = tf.mul(power, 1.5 * 2 ** 16);
    const rounded = tf.sub(tf.add(x, offset), offset);
    const magnitude = tf.abs(x);
    const inRange = tf.logicalAnd(tf.less(magnitude, 2 ** 100), tf.greaterEqual(magnitude, 2 ** -118));
    return tf.where(inRange, rounded, x) as T;
  });

/** Calls `use` with a rounded value. */
function withRounded<T>(x: Value, use: (rounded: Value) => T): T {
  const rounded = roundToBf16(x as tf.Tensor);
  const result = use(rounded);
  rounded.dispose();
  return result;
}

/** Calls `use` with a weight of the rounded value and the same gradient. */
const withRoundedWeight = <T>(w: Weight, use: (rounded: Weight) => T): T =>
  withRounded(w.value(), (value) =>
    use({
      name: w.name,
      shape: w.shape,
      trainable: w.trainable,
      accumulate: w.accumulate,
      value: () => value as tf.Tensor,
    }),
  );

/** Rounds a value. Takes ownership. */
function round(x: Value): Value {
  const rounded = roundToBf16(x as tf.Tensor);
  x.dispose();
  return rounded;
}

const withRoundedOutput = (result: OpResult): OpResult => ({ ...result, output: round(result.output) });

/** Rounds the gradient of an operation's first inputs, which are outputs of linear layers. */
const withRoundedGradients = (result: OpResult, inputs: number): OpResult => ({
  ...result,
  backward: (dy) => result.backward(dy).map((dx, i) => (i < inputs ? round(dx) : dx)),
});

/** x · wᵀ in one of its forms, and its gradients, of rounded operands. The output is rounded. */
function roundedLinear(x: Value, w: Weight, apply: (x: Value, w: Weight) => OpResult): OpResult {
  const run = <T>(use: (result: OpResult) => T) => withRounded(x, (x) => withRoundedWeight(w, (w) => use(apply(x, w))));
  return withRoundedOutput({
    output: run(({ output }) => output),
    inputsForBackward: [x],
    saved: [],
    backward: (dy) =>
      run(({ output, backward }) => {
        output.dispose();
        return withRounded(dy, backward);
      }),
  });
}

const linear: Kernels['linear'] = (x, w) => roundedLinear(x, w, portableKernels.linear);
const geglu: Kernels['geglu'] = (gate, up) =>
  withRoundedOutput(withRoundedGradients(portableKernels.geglu(gate, up), 2));

/** Kernels like `portableKernels`, whose products and activations have the precision bfloat16. */
export const portableBf16Kernels: Kernels = {
  ...portableKernels,
  linear,
  linearToHeads: (x, w, heads) => roundedLinear(x, w, (x, w) => portableKernels.linearToHeads(x, w, heads)),
  linearFromHeads: (x, w) => roundedLinear(x, w, portableKernels.linearFromHeads),
  geglu,
  gegluLinear(gate, up, w) {
    const activated = () => geglu(gate, up);
    const useAndDispose = <T>(value: Value, use: (value: Value) => T): T => {
      const result = use(value);
      value.dispose();
      return result;
    };
    return {
      output: useAndDispose(activated().output, (x) => linear(x, w).output),
      inputsForBackward: [gate, up],
      saved: [],
      backward(dy) {
        const { output, backward } = activated();
        const [dActivated] = useAndDispose(output, (x) => {
          const { output, backward } = linear(x, w);
          output.dispose();
          return backward(dy);
        });
        return useAndDispose(dActivated!, backward);
      },
    };
  },
  rmsNorm(x, w, epsilon, residual) {
    const result = portableKernels.rmsNorm(x, w, epsilon, residual);
    return residual ? withRoundedGradients(result, 1) : withRoundedOutput(result);
  },
  rope: (x, tables) => withRoundedOutput(withRoundedGradients(portableKernels.rope(x, tables), 1)),
  product(a, b, options) {
    const result = withRounded(a, (a) => withRounded(b, (b) => portableKernels.product(a, b, options)));
    return options.isActivation ? round(result) : result;
  },
  attention: (q, k, v, blocks, options) =>
    withRoundedOutput(attention(q as tf.Tensor3D, k as tf.Tensor3D, v as tf.Tensor3D, blocks, options, roundToBf16)),
  logits: (hidden, weight, softcap) =>
    withRounded(hidden, (hidden) =>
      withRoundedWeight(weight, (weight) => portableKernels.logits(hidden, weight, softcap)),
    ),
  answerLogps: (hidden, weight, targets, softcap, requiresGrad, pause) =>
    answerLogps(hidden as tf.Tensor2D, weight, targets, softcap, requiresGrad, pause, roundToBf16),
};
