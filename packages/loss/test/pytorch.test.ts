import '@tensorflow/tfjs';
import { readFileSync } from 'node:fs';
import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import {
  type Alignment,
  answerScores,
  dpoLoss,
  ldLogps,
  preferenceLoss,
  sumLogps,
  wpoLoss,
  wpoWeights,
} from '../src/index';
import type { LossType, MixtureOptions } from '../src/loss-table';
import { add, mul } from '../src/ops';
import * as scalar from '../src/scalar/index';
import { columns, type Drawn, draw } from './draw';
import golden from './fixtures/pairs.json';
import { answerBatch, maxDifference, values } from './tensors';

const fixtures = JSON.parse(readFileSync(new URL('fixtures/losses.json', import.meta.url), 'utf8')) as {
  readonly batches: number;
  readonly cases: Readonly<Record<string, string>>;
};
const names = Object.keys(fixtures.cases);

/** Reads the numbers of a case in order. */
function reader(name: string) {
  const bytes = Buffer.from(fixtures.cases[name]!, 'base64');
  let at = 0;
  return {
    take: (count: number) => Array.from({ length: count }, () => bytes.readFloatLE(4 * at++)),
    left: () => bytes.length / 4 - at,
  };
}

/** Within 1e-5 of the number, or within float32's rounding of numbers near 1, for results of cancellation. */
function expectClose(found: readonly number[], expected: readonly number[], place: string, relative = 1e-5) {
  expect(found.length, place).toBe(expected.length);
  for (const [i, x] of found.entries()) {
    const bound = relative * Math.abs(expected[i]!) + FLOOR;
    if (!(Math.abs(x - expected[i]!) <= bound)) throw new Error(`${place}[${i}]: expected ${expected[i]}, found ${x}`);
  }
}
const FLOOR = 5e-7;

const tensorColumns = (drawn: Drawn) =>
  Object.fromEntries(
    Object.entries(columns(drawn.pairs)).map(([name, xs]) => [name, tf.tensor1d(xs, 'float32')]),
  ) as Record<keyof ReturnType<typeof columns>, tf.Tensor1D>;

/** The losses and options of a case. */
function mixtureOf(name: string, { options }: Drawn): MixtureOptions {
  const { kl: _kl, temperature: _temperature, alpha: _alpha, ...all } = options;
  if (name === 'mpo') return { ...all, lossType: ['sigmoid', 'bco_pair', 'sft'], lossWeights: [0.8, 0.2, 1] };
  if (name === 'rpo') return { ...all, lossType: ['sigmoid', 'sft'], lossWeights: [1, 0.5] };
  const [lossType, variant] = name.split(' ') as [LossType, string | undefined];
  if (variant === 'refFree') return { ...all, lossType, refFree: true };
  return { ...all, lossType, fDivergenceType: variant as MixtureOptions['fDivergenceType'] };
}

const upwards = (count: number) => tf.tensor1d(Array.from({ length: count }, (_, i) => i + 1));

describe.each(names.filter((name) => !/^(wpo|ld)/.test(name)))('%s', (name) => {
  const sorts = name.startsWith('aot');

  it('agrees with PyTorch in values and gradients, over tensors', () => {
    const { take, left } = reader(name);
    for (let batch = 0; batch < fixtures.batches; batch++) {
      tf.tidy(() => {
        const drawn = draw(batch);
        const { weights, ...input } = tensorColumns(drawn);
        const options = mixtureOf(name, drawn) as MixtureOptions<'kto'>;
        const of = (c: tf.Tensor, r: tf.Tensor) =>
          preferenceLoss(
            {
              ...input,
              chosenLogps: c as tf.Tensor1D,
              rejectedLogps: r as tf.Tensor1D,
              kl: drawn.options.kl,
              ...(sorts ? {} : { weights }),
            },
            options,
          );
        const count = drawn.pairs.length;
        const expected = take(count);
        const result = of(input.chosenLogps, input.rejectedLogps);
        expectClose(values(result.unweightedLosses), expected, `batch ${batch}: losses`);
        const w = sorts ? expected.map(() => 1) : drawn.pairs.map((pair) => pair.weight);
        expectClose(
          values(result.losses),
          expected.map((loss, i) => loss * w[i]!),
          `batch ${batch}: weighted losses`,
        );
        // sft does not depend on rejected answers, and tfjs throws on a gradient by an input that a function does not read
        const idle = tf.zerosLike(input.rejectedLogps);
        const gradients = tf.grads((c, r) => add(of(c!, r!).unweightedLosses, mul(r as tf.Tensor1D, idle)))(
          [input.chosenLogps, input.rejectedLogps],
          upwards(count),
        );
        expectClose(values(gradients[0]!), take(count), `batch ${batch}: gradients of chosen`);
        expectClose(values(gradients[1]!), take(count), `batch ${batch}: gradients of rejected`);
      });
    }
    expect(left()).toBe(0);
  });

  it('agrees with PyTorch in values, over numbers', () => {
    const { take } = reader(name);
    for (let batch = 0; batch < fixtures.batches; batch++) {
      const drawn = draw(batch);
      const { weights, ...input } = columns(drawn.pairs);
      const options = mixtureOf(name, drawn) as MixtureOptions<'kto'>;
      const result = scalar.preferenceLoss({ ...input, kl: drawn.options.kl, ...(sorts ? {} : { weights }) }, options);
      const count = drawn.pairs.length;
      expectClose([...result.unweightedLosses], take(count), `batch ${batch}: losses`, 2e-7);
      take(2 * count);
    }
  });

  it.skipIf(sorts)('agrees with PyTorch in gradients, over numbers', () => {
    const { take } = reader(name);
    for (let batch = 0; batch < fixtures.batches; batch++) {
      const drawn = draw(batch);
      const count = drawn.pairs.length;
      // the fixtures have the gradient of Σ (i + 1) · loss_i
      const weights = drawn.pairs.map((_, i) => i + 1);
      const { gradient } = scalar.preferenceLossWithGradient(
        { ...columns(drawn.pairs), kl: drawn.options.kl, weights },
        mixtureOf(name, drawn) as MixtureOptions<'kto'>,
      );
      take(count);
      expectClose([...gradient.chosenLogps], take(count), `batch ${batch}: gradients of chosen`, 2e-7);
      expectClose([...gradient.rejectedLogps], take(count), `batch ${batch}: gradients of rejected`, 2e-7);
    }
  });
});

/** Both answers of drawn pairs as tensors, padded with NaN. */
const tokenTensors = (pairs: Drawn['pairs']) => ({
  chosen: answerBatch(
    pairs.map((pair) => pair.chosen),
    Number.NaN,
  ),
  rejected: answerBatch(
    pairs.map((pair) => pair.rejected),
    Number.NaN,
  ),
});

const references = ({ pairs }: Drawn) => ({
  refChosenLogps: tf.tensor1d(pairs.map((pair) => pair.chosen.reference)),
  refRejectedLogps: tf.tensor1d(pairs.map((pair) => pair.rejected.reference)),
});

/** The gradients of answers' tokens without padding, pair by pair as in the fixtures. */
function unpadded(pairs: Drawn['pairs'], chosen: tf.Tensor, rejected: tf.Tensor): number[] {
  const [c, r] = [chosen.arraySync(), rejected.arraySync()] as [number[][], number[][]];
  return pairs.flatMap((pair, i) => [
    ...c[i]!.slice(0, pair.chosen.logps.length),
    ...r[i]!.slice(0, pair.rejected.logps.length),
  ]);
}

describe.each(names.filter((name) => name.startsWith('wpo')))('%s', (name) => {
  const [, alignment, clamped, attachment] = name.split(' ') as [string, Alignment, string, string];
  const settings = { alignment, clamp: clamped === 'clamped' };
  const attached = attachment === 'attached';

  it('agrees with PyTorch in weights, losses and gradients by token, over tensors', () => {
    const { take, left } = reader(name);
    for (let batch = 0; batch < fixtures.batches; batch++) {
      tf.tidy(() => {
        const drawn = draw(batch);
        const { options, pairs } = drawn;
        const tokens = tokenTensors(pairs);
        const own = tf.tensor1d(pairs.map((pair) => pair.weight));
        const of = (c: tf.Tensor, r: tf.Tensor) => {
          const chosen = { ...tokens.chosen, logps: c as tf.Tensor2D };
          const rejected = { ...tokens.rejected, logps: r as tf.Tensor2D };
          const weights = wpoWeights({ chosen, rejected }, { ...settings, attached, temperature: options.temperature });
          const { beta, labelSmoothing } = options;
          return wpoLoss(
            {
              chosenLogps: sumLogps(chosen),
              rejectedLogps: sumLogps(rejected),
              ...references(drawn),
              weights: mul(weights, own),
            },
            { beta, labelSmoothing, attached },
          );
        };
        const result = of(tokens.chosen.logps, tokens.rejected.logps);
        expectClose(values(result.weights), take(pairs.length), `batch ${batch}: weights`);
        expectClose(values(result.losses), take(pairs.length), `batch ${batch}: losses`);
        const [c, r] = tf.grads((c, r) => of(c!, r!).losses)(
          [tokens.chosen.logps, tokens.rejected.logps],
          upwards(pairs.length),
        );
        const found = unpadded(pairs, c!, r!);
        expectClose(found, take(found.length), `batch ${batch}: gradients`);
      });
    }
    expect(left()).toBe(0);
  });

  it('agrees with PyTorch in weights and losses, over numbers', () => {
    const { take } = reader(name);
    for (let batch = 0; batch < fixtures.batches; batch++) {
      const { options, pairs } = draw(batch);
      const { temperature, beta, labelSmoothing } = options;
      const weights = pairs.map((pair) => pair.weight * scalar.wpoWeights(pair, { ...settings, temperature }));
      const result = scalar.wpoLoss({ ...columns(pairs), weights }, { beta, labelSmoothing });
      expectClose(weights, take(pairs.length), `batch ${batch}: weights`, 2e-7);
      expectClose([...result.losses], take(pairs.length), `batch ${batch}: losses`, 2e-7);
      take(pairs.reduce((sum, pair) => sum + pair.chosen.logps.length + pair.rejected.logps.length, 0));
    }
  });
});

describe('ld', () => {
  it('agrees with PyTorch in values and gradients by token, over tensors', () => {
    const { take, left } = reader('ld');
    for (let batch = 0; batch < fixtures.batches; batch++) {
      tf.tidy(() => {
        const drawn = draw(batch);
        const { options, pairs } = drawn;
        const tokens = tokenTensors(pairs);
        const of = (c: tf.Tensor, r: tf.Tensor) => {
          const logps = ldLogps(
            {
              chosen: { ...tokens.chosen, logps: c as tf.Tensor2D },
              rejected: { ...tokens.rejected, logps: r as tf.Tensor2D },
            },
            options.alpha,
          );
          return dpoLoss(
            { chosenLogps: logps.chosen, rejectedLogps: logps.rejected, ...references(drawn) },
            { beta: options.beta },
          ).losses;
        };
        expectClose(
          values(of(tokens.chosen.logps, tokens.rejected.logps)),
          take(pairs.length),
          `batch ${batch}: losses`,
        );
        const [c, r] = tf.grads((c, r) => of(c!, r!))(
          [tokens.chosen.logps, tokens.rejected.logps],
          upwards(pairs.length),
        );
        const found = unpadded(pairs, c!, r!);
        expectClose(found, take(found.length), `batch ${batch}: gradients`);
      });
    }
    expect(left()).toBe(0);
  });

  it('agrees with PyTorch in values, over numbers', () => {
    const { take } = reader('ld');
    for (let batch = 0; batch < fixtures.batches; batch++) {
      const { options, pairs } = draw(batch);
      const logps = pairs.map((pair) => scalar.ldLogps(pair, options.alpha));
      const { refChosenLogps, refRejectedLogps } = columns(pairs);
      const { losses } = scalar.dpoLoss(
        {
          chosenLogps: logps.map(({ chosen }) => chosen),
          rejectedLogps: logps.map(({ rejected }) => rejected),
          refChosenLogps,
          refRejectedLogps,
        },
        { beta: options.beta },
      );
      expectClose([...losses], take(pairs.length), `batch ${batch}: losses`, 2e-7);
      take(pairs.reduce((sum, pair) => sum + pair.chosen.logps.length + pair.rejected.logps.length, 0));
    }
  });
});

type Side = 'chosen' | 'rejected';

/** An answer with uneven token log-probs whose sum and whose aligned mean are those of the fixture. */
function answers(side: Side, alignment: Alignment) {
  return answerBatch(
    golden.pairs.map((pair) => {
      const length = pair[`${side}_tokens`];
      const uneven = (t: number) => t - (length - 1) / 2; // adds up to 0
      const logps = Array.from({ length }, (_, t) => pair[`${side}_logps`] / length + 0.05 * uneven(t));
      const terms = logps.map((logp, t) => logp - pair.alignment[side][alignment] + 0.02 * uneven(t));
      return { logps, logSumSquares: terms, logMax: terms };
    }),
    Number.NaN,
  );
}

const column = (name: Exclude<keyof (typeof golden.pairs)[number], 'alignment'>) =>
  golden.pairs.map((pair) => pair[name]);

describe('PyTorch’s values for 16 pairs', () => {
  it.each(['sampled', 'greedy', 'none'] as const)(
    'agree with the scores of both answers under %s alignment',
    (alignment) => {
      for (const side of ['chosen', 'rejected'] as const) {
        const expected = golden.pairs.map((pair) => pair.alignment[side][alignment]);
        expect(maxDifference(values(answerScores(answers(side, alignment), alignment)), expected)).toBeLessThan(2e-6);
        expect(maxDifference(values(sumLogps(answers(side, alignment))), column(`${side}_logps`))).toBeLessThan(1e-5);
      }
    },
  );

  it('agree with the weights and losses', () => {
    const pair = { chosen: answers('chosen', 'sampled'), rejected: answers('rejected', 'sampled') };
    const weights = wpoWeights(pair);
    expect(maxDifference(values(weights), column('weight'))).toBeLessThan(2e-6);
    const { losses, dpoLosses } = wpoLoss(
      {
        chosenLogps: sumLogps(pair.chosen),
        rejectedLogps: sumLogps(pair.rejected),
        refChosenLogps: tf.tensor1d(column('ref_chosen_logps')),
        refRejectedLogps: tf.tensor1d(column('ref_rejected_logps')),
        weights,
      },
      { beta: golden.beta },
    );
    expect(maxDifference(values(dpoLosses), column('dpo_loss'))).toBeLessThan(2e-6);
    expect(maxDifference(values(losses), column('wpo_loss'))).toBeLessThan(2e-6);
  });
});
