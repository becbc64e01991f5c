import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { parity } from '../packages/gemma/test/parity';
import { trainablePolicy } from './backends';
import { expectTrlSteps, type TrlLimits, type TrlSteps } from './trl';

/** Ten steps of TRL's DPOTrainer, made by scripts/make-trl-trajectory.py. */
interface TrlTrajectory extends TrlSteps {
  readonly defaults: { readonly max_grad_norm: number; readonly schedule: string };
}

/**
 * A log-prob sums up to 60 float32 terms, and AdamW moves every weight by about the learning rate however small its gradient is, so
 * that rounding errors grow with the steps: up to 1e-4 in a log-prob was seen. A reward is beta (0.1) times a log-ratio; a loss and a
 * gradient norm depend on log-probs through beta as well.
 */
const LIMITS: TrlLimits = {
  loss: 1e-4,
  grad_norm: 1e-3,
  learning_rate: 1e-12,
  num_tokens: 0.5,
  'logps/chosen': 1e-3,
  'logps/rejected': 1e-3,
  'rewards/chosen': 1e-4,
  'rewards/rejected': 1e-4,
  'rewards/margins': 1e-4,
};

const trl: TrlTrajectory = JSON.parse(readFileSync(new URL('./fixtures/trl-trajectory.json', import.meta.url), 'utf8'));

// WPO_PARITY=1 prints the largest difference of each comparison, which docs/parity.md lists.
test.each(['portable', 'native'] as const)(
  'ten training steps agree with TRL’s WPO trainer: %s kernels',
  async (kind) => {
    const compared = parity(`TRL, tiny, ${kind}`);
    expect(trl.defaults).toMatchObject({ max_grad_norm: 1, schedule: 'linear' });
    const policy = await trainablePolicy('tiny', kind); // training starts from the reference
    await expectTrlSteps(policy, kind, trl, LIMITS, compared);
    compared.report();
  },
);
