import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { loadPairs, loadTokenizerFolder } from '@wpo/data/node';
import { adapted, gemmaPolicy, loadWeights } from '@wpo/gemma';
import { readAdapterFolder, readAdapterTensors, readModelFolder } from '@wpo/gemma/node';
import { type MetricsRow, precomputeReference, train, wpoPairLoss } from '@wpo/trainer';
import { expect, test } from 'vitest';
import { adapterFolder } from '../packages/gemma/test/adapter/peft';
import { goldenFolder } from '../packages/gemma/test/golden';
import { parity } from '../packages/gemma/test/parity';
import { backends } from './backends';

/**
 * Ten steps of TRL's DPOTrainer with `use_weighting` and a PEFT model, from an adapter that is also the reference. Made by
 * scripts/make-peft-fixtures.py.
 */
interface PeftTrajectory {
  readonly adapter: string;
  readonly settings: {
    readonly per_device_train_batch_size: number;
    readonly max_steps: number;
    readonly learning_rate: number;
    readonly beta: number;
  };
  readonly steps: readonly Readonly<Record<Metric, number>>[];
  /** The trained parameters, by the names in an adapter's file. */
  readonly parameters: Readonly<Record<string, { readonly norm: number; readonly first: readonly number[] }>>;
}

/** Largest differences allowed. Up to 2e-5 was seen in a log-prob, which sums up to 60 float32 terms. */
const LIMITS = {
  loss: 1e-5,
  grad_norm: 1e-4, // relative
  learning_rate: 1e-12,
  num_tokens: 0.5,
  'logps/chosen': 1e-4,
  'logps/rejected': 1e-4,
  'rewards/chosen': 1e-5,
  'rewards/rejected': 1e-5,
  'rewards/margins': 1e-5,
} as const;
type Metric = keyof typeof LIMITS;

const trajectories: readonly PeftTrajectory[] = JSON.parse(
  readFileSync(new URL('./fixtures/peft-trajectory.json', import.meta.url), 'utf8'),
);
const cases = trajectories.flatMap((trl) => (['portable', 'native'] as const).map((kind) => ({ trl, kind })));

// WPO_PARITY=1 prints the largest difference of each comparison, which docs/parity.md lists.
test.each(cases)('ten training steps agree with TRL and PEFT: $trl.adapter, $kind kernels', async ({ trl, kind }) => {
  const text = await loadTokenizerFolder(goldenFolder('tiny'));
  const { pairs } = await loadPairs(join(goldenFolder('tiny'), '../pairs.jsonl'), {
    ...text,
    completion: 'trl',
    truncation: 'keep_start',
  });
  const { kernels, optimizer, computeNorm } = backends[kind]();
  const { config, checkpoint } = await readModelFolder(goldenFolder('tiny'));
  const base = await loadWeights(config, checkpoint, { trainable: false });
  const folder = await readAdapterFolder(adapterFolder(trl.adapter), config);
  const model = adapted(base, folder.config, { tensors: await readAdapterTensors(folder), kernels });
  await Promise.all([checkpoint.close(), folder.checkpoint.close()]);
  const policy = gemmaPolicy(model, { kernels });
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
    schedule: 'linear',
    maxGradNorm: 1,
    loggingSteps: 1,
    metrics: { write: (row) => void rows.push(row) },
  });
  const { within, report } = parity(`TRL with PEFT, ${trl.adapter}, ${kind}`);
  expect(rows).toHaveLength(trl.steps.length);
  for (const [i, expected] of trl.steps.entries()) {
    for (const metric of Object.keys(LIMITS) as Metric[]) {
      const actual = rows[i]![metric]!;
      const difference = metric === 'grad_norm' ? actual / expected[metric] - 1 : actual - expected[metric];
      within(`TRL, ${metric}`, difference, LIMITS[metric], `${metric} of step ${i + 1}`);
    }
  }
  expect(policy.parameters.map(({ name }) => name).sort()).toEqual(Object.keys(trl.parameters).sort());
  for (const { name, value } of policy.parameters) {
    const values = (await value().data()) as Float32Array;
    const norm = Math.sqrt(values.reduce((sum, x) => sum + x * x, 0));
    within('norm of a parameter', norm / trl.parameters[name]!.norm - 1, 1e-5, `norm of ${name}`);
  }
  report();
});
