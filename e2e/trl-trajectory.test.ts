import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { loadPairs, loadTokenizerFolder } from '@wpo/data/node';
import { type MetricsRow, precomputeReference, train, wpoPairLoss } from '@wpo/trainer';
import { expect, test } from 'vitest';
import { goldenFolder } from '../packages/gemma/test/golden';
import { parity } from '../packages/gemma/test/parity';
import { backends, trainablePolicy } from './backends';

/** Ten steps of TRL's DPOTrainer with `use_weighting`, made by scripts/make-trl-trajectory.py. */
interface TrlTrajectory {
  readonly settings: {
    readonly per_device_train_batch_size: number;
    readonly max_steps: number;
    readonly learning_rate: number;
    readonly beta: number;
  };
  readonly defaults: { readonly max_grad_norm: number; readonly schedule: 'linear' };
  readonly steps: readonly Readonly<Record<Metric, number>>[];
}

/**
 * Largest differences allowed. A log-prob sums up to 60 float32 terms, and AdamW moves every weight by about the learning
 * rate however small its gradient is, so that rounding errors grow with the steps: up to 1e-4 in a log-prob was seen. A reward is
 * beta (0.1) times a log-ratio; a loss and a gradient norm depend on log-probs through beta as well.
 */
const LIMITS = {
  loss: 1e-4,
  grad_norm: 1e-3, // relative
  learning_rate: 1e-12,
  num_tokens: 0.5,
  'logps/chosen': 1e-3,
  'logps/rejected': 1e-3,
  'rewards/chosen': 1e-4,
  'rewards/rejected': 1e-4,
  'rewards/margins': 1e-4,
} as const;
type Metric = keyof typeof LIMITS;

const trl: TrlTrajectory = JSON.parse(readFileSync(new URL('./fixtures/trl-trajectory.json', import.meta.url), 'utf8'));

// WPO_PARITY=1 prints the largest difference of each comparison, which docs/parity.md lists.
test.each(['portable', 'native'] as const)(
  'ten training steps agree with TRL’s WPO trainer: %s kernels',
  async (kind) => {
    const text = await loadTokenizerFolder(goldenFolder('tiny'));
    const { pairs } = await loadPairs(join(goldenFolder('tiny'), '../pairs.jsonl'), {
      ...text,
      completion: 'trl',
      truncation: 'keep_start',
    });
    const policy = await trainablePolicy('tiny', kind); // training starts from the reference
    const { optimizer, computeNorm } = backends[kind]();
    const rows: MetricsRow[] = [];
    await train({
      policy,
      pairs,
      reference: await precomputeReference({ policy, pairs }),
      optimizer,
      computeNorm,
      loss: wpoPairLoss({ beta: trl.settings.beta, clamp: false }), // TRL does not limit a weight to 1
      learningRate: trl.settings.learning_rate,
      maxSteps: trl.settings.max_steps,
      batchSize: trl.settings.per_device_train_batch_size,
      schedule: trl.defaults.schedule,
      maxGradNorm: trl.defaults.max_grad_norm,
      loggingSteps: 1,
      metrics: { write: (row) => void rows.push(row) },
    });
    const { within, report } = parity(`TRL, tiny, ${kind}`);
    expect(rows).toHaveLength(trl.steps.length);
    for (const [i, expected] of trl.steps.entries()) {
      for (const metric of Object.keys(LIMITS) as Metric[]) {
        const actual = rows[i]![metric]!;
        const difference = metric === 'grad_norm' ? actual / expected[metric] - 1 : actual - expected[metric];
        within(`TRL, ${metric}`, difference, LIMITS[metric], `${metric} of step ${i + 1}`);
      }
    }
    report();
  },
);
