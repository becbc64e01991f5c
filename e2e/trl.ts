import { join } from 'node:path';
import { loadPairs, loadTokenizerFolder } from '@wpo/data/node';
import { type MetricsRow, type Policy, precomputeReference, train, wpoPairLoss } from '@wpo/trainer';
import { expect } from 'vitest';
import { goldenFolder } from '../packages/gemma/test/golden';
import type { Parity } from '../packages/gemma/test/parity';
import { backends, type Kind } from './backends';

/** Steps of TRL's DPOTrainer with `use_weighting` on the fixture's pairs, with TRL's defaults except for these settings. */
export interface TrlSteps {
  readonly settings: {
    readonly per_device_train_batch_size: number;
    readonly max_steps: number;
    readonly learning_rate: number;
    readonly beta: number;
  };
  readonly steps: readonly Readonly<Record<TrlMetric, number>>[];
}

/** Largest differences allowed; of the gradient norm, relative. */
export type TrlLimits = Readonly<Record<TrlMetric, number>>;

export type TrlMetric =
  | 'loss'
  | 'grad_norm'
  | 'learning_rate'
  | 'num_tokens'
  | `logps/${'chosen' | 'rejected'}`
  | `rewards/${'chosen' | 'rejected' | 'margins'}`;

/** Trains a policy of the model `tiny`, from itself as the reference, and compares each step with TRL's. */
export async function expectTrlSteps(
  policy: Policy,
  kind: Kind,
  { settings, steps }: TrlSteps,
  limits: TrlLimits,
  { within }: Parity,
): Promise<void> {
  const text = await loadTokenizerFolder(goldenFolder('tiny'));
  const { pairs } = await loadPairs(join(goldenFolder('tiny'), '../pairs.jsonl'), {
    ...text,
    completion: 'trl',
    truncation: 'keep_start',
  });
  const { optimizer, computeNorm } = backends[kind]();
  const rows: MetricsRow[] = [];
  await train({
    policy,
    pairs,
    reference: await precomputeReference({ policy, pairs }),
    optimizer,
    computeNorm,
    loss: wpoPairLoss({ beta: settings.beta, clamp: false }), // TRL does not limit a weight to 1
    learningRate: settings.learning_rate,
    maxSteps: settings.max_steps,
    batchSize: settings.per_device_train_batch_size,
    schedule: 'linear',
    maxGradNorm: 1,
    loggingSteps: 1,
    metrics: { write: (row) => void rows.push(row) },
  });
  expect(rows).toHaveLength(steps.length);
  for (const [i, expected] of steps.entries()) {
    for (const metric of Object.keys(limits) as TrlMetric[]) {
      const actual = rows[i]![metric]!;
      const difference = metric === 'grad_norm' ? actual / expected[metric] - 1 : actual - expected[metric];
      within(`TRL, ${metric}`, difference, limits[metric], `${metric} of step ${i + 1}`);
    }
  }
}
