import * as tf from '@tensorflow/tfjs';
import { type LossType, lossTypes } from '@wpo/loss';
import { describe, expect, it } from 'vitest';
import { type PairLoss, type PairLossInput, preferencePairLoss, wpoPairLoss } from '../src/pair-loss';

const matrix = (rows: number[][]) => tf.tensor2d(rows, [rows.length, rows[0]!.length], 'float32');

const answers = (logps: number[][], mask: number[][]) => ({
  logps: matrix(logps),
  logSumSquares: matrix(logps.map((row) => row.map((x) => x / 2))),
  logMax: matrix(logps.map((row) => row.map((x) => x / 4))),
  mask: matrix(mask),
});

/** One pair: log π(y_w) = −1 in 2 tokens, log π(y_l) = −3 in 3; reference −2 and −2; w = exp(½(−½) + ⅓(−1½)) = e^−¾. */
const onePair = (): PairLossInput => {
  const chosen = answers([[-0.5, -0.5, 0]], [[1, 1, 0]]);
  const rejected = answers([[-1, -1, -1]], [[1, 1, 1]]);
  return {
    chosen,
    rejected,
    chosenLogps: tf.tensor1d([-1]),
    rejectedLogps: tf.tensor1d([-3]),
    refChosenLogps: tf.tensor1d([-2]),
    refRejectedLogps: tf.tensor1d([-2]),
    pairWeights: tf.tensor1d([1]),
  };
};

const lossOf = (loss: PairLoss, input = onePair()) => loss(input).losses.dataSync()[0]!;
const softplus = (x: number) => Math.log1p(Math.exp(x));

describe('preferencePairLoss', () => {
  it('is WPO’s where nothing is said', () => {
    // Δ = 1 + 1 = 2, β 0.1
    expect(lossOf(preferencePairLoss())).toBeCloseTo(Math.exp(-0.75) * softplus(-0.2), 6);
    expect(lossOf(wpoPairLoss({ beta: 0.5 }))).toBeCloseTo(Math.exp(-0.75) * softplus(-1), 6);
  });

  it('multiplies weights from the data in, with WPO’s and without', () => {
    const input = { ...onePair(), pairWeights: tf.tensor1d([3]) };
    expect(lossOf(preferencePairLoss(), input)).toBeCloseTo(3 * Math.exp(-0.75) * softplus(-0.2), 6);
    const plain = preferencePairLoss({ useWeighting: false })(input);
    expect(plain.losses.dataSync()[0]).toBeCloseTo(3 * softplus(-0.2), 6);
    expect([...plain.weights.dataSync()]).toEqual([3]);
  });

  it('takes the weights’ alignment, clamp and temperature', () => {
    // greedy: ½(−¾) + ⅓(−2¼) = −1⅛
    const weight = (options: Parameters<typeof preferencePairLoss>[0]) =>
      preferencePairLoss(options)(onePair()).weights.dataSync()[0];
    expect(weight({ alignment: 'greedy' })).toBeCloseTo(Math.exp(-1.125), 6);
    expect(weight({ temperature: 2 })).toBeCloseTo(Math.exp(-0.375), 6);
  });

  it('mixes losses: MPO', () => {
    const mpo = preferencePairLoss({
      lossType: ['sigmoid', 'bco_pair', 'sft'],
      lossWeights: [0.8, 0.2, 1],
      beta: 0.5,
      useWeighting: false,
    });
    // 0.8 · 0.313262 + 0.2 · 2 · 0.474077 + ½
    expect(lossOf(mpo)).toBeCloseTo(0.94024, 5);
  });

  it('counts tokens past the shared length ldAlpha times, but not in a likelihood', () => {
    const ld = preferencePairLoss({
      lossType: ['sigmoid', 'sft'],
      ldAlpha: 0.5,
      beta: 1,
      useWeighting: false,
    });
    // log π(y_l) = −2 − ½; Δ = 1 − (−2.5 + 2) = 1.5; and 1 / 2
    expect(lossOf(ld)).toBeCloseTo(softplus(-1.5) + 0.5, 6);
    expect(ld.ldAlpha).toBe(0.5);
  });

  it('says whether it looks at the reference and at the batch', () => {
    expect(preferencePairLoss().needsReference).toBe(true);
    expect(preferencePairLoss({ lossType: ['simpo', 'sft'] }).needsReference).toBe(false);
    expect(preferencePairLoss({ refFree: true }).needsReference).toBe(false);
    expect(preferencePairLoss({ lossType: 'aot', useWeighting: false }).needsBatch).toBe(true);
    expect(preferencePairLoss().needsBatch).toBe(false);
  });

  it('knows every loss, and gives each a gradient by token through weights held constant', () => {
    for (const lossType of lossTypes()) {
      const ranked = lossType.startsWith('aot');
      const loss = preferencePairLoss({ lossType, labelSmoothing: 0.1, kl: 0.5, useWeighting: !ranked });
      const input = onePair();
      const gradient = tf.grad((logps) => {
        const chosen = { ...input.chosen, logps: logps as tf.Tensor2D };
        return loss({ ...input, chosen, chosenLogps: tf.sum(logps, 1) as tf.Tensor1D }).losses;
      })(input.chosen.logps);
      const [first, second] = gradient.dataSync();
      expect(Number.isFinite(first), lossType).toBe(true);
      expect(first, lossType).not.toBe(0);
      expect(second, lossType).toBe(first); // both tokens count alike
    }
  });

  it('lets gradient into the weights where they are attached', () => {
    const gradient = (attached: boolean) => {
      const input = onePair();
      const loss = preferencePairLoss({ beta: 0.5, attached });
      return tf
        .grad((logps) => {
          const chosen = { ...input.chosen, logps: logps as tf.Tensor2D };
          return loss({ ...input, chosen, chosenLogps: tf.sum(logps, 1) as tf.Tensor1D }).losses;
        })(input.chosen.logps)
        .dataSync()[0]!;
    };
    const w = Math.exp(-0.75);
    const held = -0.5 / (1 + Math.E);
    expect(gradient(false)).toBeCloseTo(w * held, 6);
    // dw / dl_t = w / 2
    expect(gradient(true)).toBeCloseTo(w * held + (w / 2) * softplus(-1), 6);
  });

  it('refuses before any pair is run what cannot be', () => {
    expect(() => preferencePairLoss({ lossType: 'sigmod' })).toThrow(
      "unknown lossType 'sigmod'. Did you mean 'sigmoid'?",
    );
    expect(() => preferencePairLoss({ beta: 0 })).toThrow('preferencePairLoss: beta is 0');
    expect(() => preferencePairLoss({ lossType: 'exo_pair' })).toThrow('labelSmoothing is 0');
    expect(() => preferencePairLoss({ lossType: ['sigmoid', 'sft'], lossWeights: [1] })).toThrow('lossWeights');
    expect(() => preferencePairLoss({ lossType: 'nca_pair', fDivergenceType: 'forward_kl' })).toThrow(
      "fDivergenceType 'forward_kl' is for losses of a difference of scores",
    );
    expect(() => preferencePairLoss({ lossType: 'aot' })).toThrow('take no weights: they compare quantiles of a batch');
    expect(() => preferencePairLoss({ lossType: 'kto' })).toThrow('loss type kto needs kl');
    expect(() => preferencePairLoss({ ldAlpha: 1.5 })).toThrow('ldAlpha is 1.5, but 0 to 1 was wanted');
  });

  it('refuses a weight of the data where pairs are ranked', () => {
    const aot = preferencePairLoss({ lossType: 'aot' satisfies LossType, useWeighting: false });
    expect(() => aot({ ...onePair(), pairWeights: tf.tensor1d([0.5]) })).toThrow('a pair has the weight 0.5');
    // one pair is its own quantiles: DPO's loss
    expect(lossOf(aot)).toBeCloseTo(softplus(-0.2), 6);
  });

  it('bends the likelihood beside LD-DPO no more than it lengthens it', () => {
    const loss = preferencePairLoss({
      lossType: ['sigmoid', 'sft'],
      fDivergenceType: 'forward_kl',
      ldAlpha: 1,
      beta: 0.5,
      useWeighting: false,
    });
    // scores 1 − e^−1 and 1 − e: softplus(−½ · 2.350402) = 0.269078
    expect(lossOf(loss)).toBeCloseTo(0.769078, 5);
  });
});
