import { type MetricsRow, precomputeReference, train, wpoPairLoss } from '@wpo/trainer';
import { expect, test } from 'vitest';
import { type Golden, golden, goldenPairs } from '../packages/gemma/test/golden';
import { parity } from '../packages/gemma/test/parity';
import { allBackends, backends, trainablePolicy } from './backends';

/** PyTorch's training run over the fixture's pairs, made by scripts/make-golden.py. */
interface Trajectory {
  readonly training: {
    readonly steps: number;
    readonly gradient_accumulation_steps: number;
    readonly learning_rate: number;
    readonly beta: number;
    readonly warmup_ratio: number;
    readonly max_grad_norm: number;
    readonly log: readonly { loss: number; grad_norm: number; learning_rate: number; weight: number }[];
  };
}

// WPO_PARITY=1 prints the largest difference of each comparison, which docs/parity.md lists.
test.each(allBackends)("eight training steps agree with PyTorch's: %s, %s kernels", async (variant, kind) => {
  const { training, truncation } = golden(variant) as Golden & Trajectory;
  const { optimizer, computeNorm } = backends[kind]();
  const policy = await trainablePolicy(variant, kind); // training starts from the reference
  const pairs = goldenPairs(truncation.paper);
  const rows: MetricsRow[] = [];
  await train({
    policy,
    pairs,
    reference: await precomputeReference({ policy, pairs }),
    optimizer,
    computeNorm,
    loss: wpoPairLoss({ beta: training.beta }),
    learningRate: training.learning_rate,
    maxSteps: training.steps,
    gradientAccumulationSteps: training.gradient_accumulation_steps,
    schedule: 'cosine',
    warmupRatio: training.warmup_ratio,
    maxGradNorm: training.max_grad_norm,
    loggingSteps: 1,
    metrics: { write: (row) => void rows.push(row) },
  });
  const { within, report } = parity(`${variant}, ${kind}`);
  expect(rows).toHaveLength(training.log.length);
  for (const [i, expected] of training.log.entries()) {
    const row = rows[i]!;
    within('trajectory, learning rate', row.learning_rate! - expected.learning_rate, 1e-12);
    within('trajectory, loss', row.loss! - expected.loss, 1e-3);
    within('trajectory, gradient norm, relative', row.grad_norm! / expected.grad_norm - 1, 5e-3);
    within('trajectory, weight', row['wpo/weight']! - expected.weight, 1e-4);
  }
  report();
});
