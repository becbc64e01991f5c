import '@wpo/tensorflow';
import type * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { generate, sequenceLogits } from '../src/generate';
import type { Gemma2 } from '../src/model';
import type { Parameter } from '../src/parameter';
import { gemmaPolicy, type TokenTerms } from '../src/policy';
import { golden, goldenModel, goldenPairs, goldenStopIds } from './golden';
import { parity } from './parity';

// WPO_PARITY=1 prints the largest difference of each comparison; docs/parity.md lists them.
const BETA = 0.1;
const numbers = (x: tf.Tensor) => x.dataSync() as Float32Array;
const sum = (x: ArrayLike<number>) => Array.from(x).reduce((a, b) => a + b, 0);

describe.each(['tiny', 'odd'])("the %s model has PyTorch's", (variant) => {
  const expected = golden(variant);
  const pairs = goldenPairs(expected.truncation.paper);
  let reference: Gemma2<Parameter>;
  let policy: Gemma2<Parameter>;
  const { within, report } = parity(variant);
  afterAll(report);
  beforeAll(async () => {
    reference = await goldenModel(variant);
    policy = await goldenModel(variant, 'policy');
  });

  test('logits, also past the sliding window', async () => {
    const { ids, rows, first8, logsumexp, max_abs } = expected.logits;
    const logits = await sequenceLogits(reference, ids);
    const vocabulary = reference.config.vocabSize;
    rows.forEach((row, i) => {
      const found = logits.subarray(row * vocabulary, (row + 1) * vocabulary);
      first8[i]!.forEach((value, v) => within('logits, of the largest', (found[v]! - value) / max_abs, 1e-4));
      within('logits, log-sum-exp', Math.log(sum(found.map(Math.exp))) - logsumexp[i]!, 1e-4 * max_abs);
    });
  });

  test('log-probs and alignment terms of every pair', async () => {
    const pass = await gemmaPolicy(policy).forward(pairs, { train: false });
    const before = await gemmaPolicy(reference).forward(pairs, { train: false });
    const [terms, referenceTerms] = [await pass.terms(), await before.terms()];
    const scores = ({ logps, logSumSquares, logMax }: TokenTerms) => {
      const mean = (base: Float32Array | null) => sum(logps.map((p, t) => p - (base?.[t] ?? 0))) / logps.length;
      return { sampled: mean(logSumSquares), greedy: mean(logMax), none: mean(null) };
    };
    let end = 0;
    expected.pairs.forEach((pair) => {
      for (const side of ['chosen', 'rejected'] as const) {
        const start = end;
        end += pair[`${side}_tokens`];
        const of = ({ logps, logSumSquares, logMax }: TokenTerms) => ({
          logps: logps.subarray(start, end),
          logSumSquares: logSumSquares.subarray(start, end),
          logMax: logMax.subarray(start, end),
        });
        within('log-probs, policy', sum(of(terms).logps) - pair[`${side}_logps`], 1e-3);
        within('log-probs, reference', sum(of(referenceTerms).logps) - pair[`ref_${side}_logps`], 1e-3);
        const found = scores(of(terms));
        for (const kind of ['sampled', 'greedy', 'none'] as const) {
          within(`alignment, ${kind}`, found[kind] - pair.alignment[side][kind], 1e-4);
        }
      }
    });
    expect(terms.logps.length).toBe(end);
    pass.dispose();
    before.dispose();
  });

  test('gradient of every tensor for the mean WPO loss of four pairs', async () => {
    const trained = gemmaPolicy(policy);
    const pass = await trained.forward(pairs.slice(0, 4), { train: true });
    // d loss / d log π(y) = ∓ w β σ(−βΔ) / 4, with the fixture's weights and log-probs
    const dLogps = expected.pairs.slice(0, 4).flatMap((pair) => {
      const delta = pair.chosen_logps - pair.rejected_logps - (pair.ref_chosen_logps - pair.ref_rejected_logps);
      const slope = (pair.weight * BETA) / (1 + Math.exp(BETA * delta)) / 4;
      return [
        ...new Array<number>(pair.chosen_tokens).fill(-slope),
        ...new Array<number>(pair.rejected_tokens).fill(slope),
      ];
    });
    await pass.backward(Float32Array.from(dLogps));
    pass.dispose();
    expect(trained.parameters.map((p) => p.name).sort()).toEqual(Object.keys(expected.gradients).sort());
    for (const parameter of trained.parameters) {
      const { norm, first } = expected.gradients[parameter.name]!;
      const found = numbers(parameter.gradient() as tf.Tensor);
      const largest = found.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      within('gradient norms, relative', Math.sqrt(sum(found.map((x) => x * x))) / norm - 1, 1e-3, parameter.name);
      first.forEach((value, i) => {
        within('gradients, of the largest', (found[i]! - value) / largest, 1e-4, `${parameter.name}[${i}]`);
      });
      parameter.zeroGradient();
    }
  });

  test('greedily generated text', async () => {
    for (const { prompt, completion } of expected.greedy) {
      expect(await generate(reference, prompt, { maxNewTokens: 24, stopIds: goldenStopIds(variant) })).toEqual(
        completion,
      );
    }
  });
});
