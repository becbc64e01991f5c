// Nothing here imports @tensorflow/tfjs, so that tfjs-core has no gradients registered. The losses must not need any.
import '@tensorflow/tfjs-backend-cpu';
import '@tensorflow/tfjs-backend-wasm';
import * as tf from '@tensorflow/tfjs-core';
import { afterAll, describe, expect, it } from 'vitest';
import { checkLogps, ldLogps, lossMetrics, sumLogps, tokenTerms, wpoLoss, wpoWeights } from '../src/index';
import { differentiate, EVERY_LOSS } from './browser/differentiate';
import { maxDifference, values } from './tensors';

const out = Number.NEGATIVE_INFINITY;
const junk = Number.NaN;

/** Two pairs, from logits to loss, metrics and the gradient of the mean loss. */
function train() {
  const chosenLogits = tf.tensor3d([2, 1, out, 0, 3, 1, 1, 0, 2, junk, junk, junk], [2, 2, 3]);
  const rejectedLogits = tf.tensor3d([0, 1e4, -1e4, 1, 2, 4], [2, 1, 3]);
  const chosenLabels = tf.tensor2d([0, 1, 2, -100], [2, 2], 'int32');
  const rejectedLabels = tf.tensor2d([1, 2], [2, 1], 'int32');
  const chosenMask = tf.tensor2d([1, 1, 1, 0], [2, 2]);
  const rejectedMask = tf.tensor2d([1, 1], [2, 1], 'bool');
  const reference = { refChosenLogps: tf.tensor1d([-0.9, -0.4]), refRejectedLogps: tf.tensor1d([-1, -0.7]) };
  const run = (chosenLogits: tf.Tensor, rejectedLogits: tf.Tensor) => {
    const chosen = tokenTerms(chosenLogits as tf.Tensor3D, chosenLabels, chosenMask);
    const rejected = tokenTerms(rejectedLogits as tf.Tensor3D, rejectedLabels, rejectedMask);
    checkLogps(chosen.logps, { mask: chosenMask });
    return wpoLoss(
      {
        chosenLogps: sumLogps(chosen),
        rejectedLogps: sumLogps(rejected),
        ...reference,
        weights: wpoWeights({ chosen, rejected }),
      },
      { labelSmoothing: 0.1 },
    );
  };
  const result = run(chosenLogits, rejectedLogits);
  const gradients = tf.grads((chosen, rejected) => run(chosen!, rejected!).losses)(
    [chosenLogits, rejectedLogits],
    tf.fill([2], 0.5),
  );
  return {
    losses: values(result.losses),
    weights: values(result.weights),
    metrics: Object.values(lossMetrics(result)),
    gradients: gradients.flatMap(values),
  };
}

describe('tfjs-core with only a backend package', () => {
  afterAll(() => tf.setBackend('cpu'));

  it('has no gradients registered', () => {
    expect(tf.getGradient('Exp')).toBeUndefined();
  });

  it('trains on the CPU backend', async () => {
    await tf.setBackend('cpu');
    const { losses, weights, gradients } = train();
    // Pair 1: p = [.731059, .268941, 0] and [.042010, .843795, .114195]; Pair 2: [.244728, .090031, .665241]
    // s_w = ½ (log(.731059 / .606776) + log(.843795 / .726796)) = 0.167788; s_l = log 1 = 0: w = 1
    // s_w = log(.665241 / .510543) = 0.264640; s_l = log(.843795 / .726796) = 0.149263: w = 1
    expect(weights).toEqual([1, 1]);
    // log π(y_w) = −0.313262 − 0.169846; Δ = (−0.483108 + 0.9) − (0 + 1) = −0.583108
    const loss = (delta: number) => 0.9 * Math.log1p(Math.exp(-0.1 * delta)) + 0.1 * Math.log1p(Math.exp(0.1 * delta));
    expect(losses[0]).toBeCloseTo(loss(-0.583108), 5);
    // log π(y_w) = −0.407606, log π(y_l) = −0.169846; Δ = (−0.407606 + 0.4) − (−0.169846 + 0.7) = −0.537760
    expect(losses[1]).toBeCloseTo(loss(-0.53776), 5);
    expect(gradients).toHaveLength(18);
    expect(gradients.every(Number.isFinite)).toBe(true);
    // ½ β (ε σ(βΔ) − (1−ε) σ(−βΔ)) (onehot − p)
    const x = -0.0583108;
    const slope = 0.05 * (0.1 / (1 + Math.exp(-x)) - 0.9 / (1 + Math.exp(x)));
    expect(gradients[0]).toBeCloseTo(slope * (1 - 0.731059), 6);
    expect(gradients.slice(9, 12)).toEqual([0, 0, 0]);
  });

  it('gives the same numbers on the WebAssembly backend', async () => {
    await tf.setBackend('cpu');
    const cpu = train();
    expect(await tf.setBackend('wasm')).toBe(true);
    const wasm = train();
    for (const name of ['losses', 'weights', 'metrics', 'gradients'] as const) {
      expect(maxDifference(wasm[name], cpu[name])).toBeLessThan(1e-6);
    }
  });

  it.each(EVERY_LOSS)('gives the same losses and gradients of %j on the WebAssembly backend', async (options) => {
    await tf.setBackend('cpu');
    const cpu = await differentiate(options);
    await tf.setBackend('wasm');
    const wasm = await differentiate(options);
    for (const [i, expected] of cpu.entries()) {
      for (const [j, x] of wasm[i]!.entries()) {
        expect(x === expected[j] || Math.abs(x - expected[j]!) <= 1e-5 * Math.max(1, Math.abs(expected[j]!))).toBe(
          true,
        );
      }
    }
    expect(cpu[0]!.slice(0, 2).every(Number.isFinite)).toBe(true);
  });

  it('gives the same LD-DPO log-probs on the WebAssembly backend', async () => {
    const run = () => {
      const chosen = { logps: tf.tensor2d([[-1, -2, -4]]), mask: tf.ones([1, 3]) };
      const rejected = { logps: tf.tensor2d([[-8, junk]]), mask: tf.tensor2d([[1, 0]]) };
      const { chosen: c, rejected: r } = ldLogps({ chosen, rejected }, 0.5);
      return [...values(c), ...values(r)];
    };
    for (const backend of ['cpu', 'wasm']) {
      await tf.setBackend(backend);
      expect(run()).toEqual([-4, -8]);
    }
  });
});
