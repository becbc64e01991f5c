import '@wpo/tensorflow';
import { klMetrics, rewardMetrics } from '@wpo/eval';
import { expect, test } from 'vitest';
import { main } from '../../src/main';
import { golden, modelFolder, pairsFile, policyFolder } from '../golden';
import { capture } from '../wpo';

const { max_length, max_prompt_length } = golden.truncation.limits;
const limits = ['--max-length', String(max_length), '--max-prompt-length', String(max_prompt_length)];

async function evaluated(...args: string[]) {
  const terminal = capture();
  expect(await main(['eval', '--pairs', pairsFile, ...limits, ...args], terminal), terminal.err()).toBe(0);
  return terminal.out();
}

const asJson = async (...args: string[]) => JSON.parse(await evaluated(...args, '--json')) as Record<string, number>;

const pair = { id: 'p', prompt: [1], chosen: [2, 3], rejected: [4] };

test('rewards are β times log-ratios, and a tie counts as wrong', () => {
  const policy = [
    { chosen: -2, rejected: -5 },
    { chosen: -3, rejected: -1 },
    { chosen: -4, rejected: -4 },
  ];
  const reference = [
    { chosen: -3, rejected: -4 },
    { chosen: -3, rejected: -3 },
    { chosen: -4, rejected: -4 },
  ];
  // log-ratios 1, 0, 0 and −1, 2, 0
  expect(rewardMetrics({ pairs: [pair, pair, pair], policy, reference }, 0.3)).toEqual({
    n_pairs: 3,
    'rewards/chosen': expect.closeTo(0.1, 12),
    'rewards/rejected': expect.closeTo(0.1, 12),
    'rewards/accuracies': expect.closeTo(1 / 3, 12),
    'rewards/margins': expect.closeTo(0, 12),
    'logps/chosen': -3,
    'logps/rejected': expect.closeTo(-10 / 3, 12),
    'log_ratio_per_token/chosen': expect.closeTo(1 / 6, 12),
    'log_ratio_per_token/rejected': expect.closeTo(1 / 3, 12),
  });
});

test('the KL is the mean over answers of r − 1 − log r, where r is π_ref / π', () => {
  const policy = [[Math.log(0.5), Math.log(0.2)], [Math.log(0.4)]];
  const reference = [[Math.log(0.25), Math.log(0.4)], [Math.log(0.4)]];
  // r is 0.5, 2 and 1: (−0.5 + ln 2) + (1 − ln 2) = 0.5, and 0
  expect(klMetrics({ policy, reference })).toEqual({
    kl: expect.closeTo(0.25, 12),
    kl_standard_error: expect.closeTo(0.25, 12), // deviation 0.5 / √2, over √2
    kl_per_token: expect.closeTo(1 / 6, 12),
    n_kl_answers: 2,
  });
});

test('log-probs and rewards of a policy and its reference are those of PyTorch', async () => {
  const found = await asJson('--model', policyFolder(), '--ref', modelFolder, '--kl-prompts', '0');
  const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const chosen = golden.pairs.map((row) => row.chosen_logps - row.ref_chosen_logps);
  const rejected = golden.pairs.map((row) => row.rejected_logps - row.ref_rejected_logps);
  expect(found.n_pairs).toBe(16);
  expect(found['rewards/chosen']).toBeCloseTo(0.1 * mean(chosen), 4);
  expect(found['rewards/margins']).toBeCloseTo(0.1 * (mean(chosen) - mean(rejected)), 4);
  expect(found['rewards/accuracies']).toBe(mean(chosen.map((value, i) => (value > rejected[i]! ? 1 : 0))));
  expect(found['logps/rejected']).toBeCloseTo(mean(golden.pairs.map((row) => row.rejected_logps)), 3);
  expect(found).not.toHaveProperty('kl');
});

test('the KL from another model is above 0, and the seed decides the samples', async () => {
  const args = ['--model', policyFolder(), '--ref', modelFolder, '--max-new-tokens', '16', '--kl-prompts', '8'];
  const found = await asJson(...args);
  expect(found.n_kl_answers).toBe(16);
  expect(found.kl).toBeGreaterThan(0.001);
  expect((await asJson(...args)).kl).toBe(found.kl);
  expect((await asJson(...args, '--seed', '100')).kl).not.toBe(found.kl);
});

test('a model has KL 0 from itself, and ties with itself on every pair', async () => {
  const args = ['--model', modelFolder, '--ref', modelFolder, '--max-new-tokens', '4', '--kl-prompts', '2'];
  expect(await asJson(...args)).toMatchObject({
    kl: 0,
    kl_standard_error: 0,
    'rewards/accuracies': 0,
    'rewards/margins': 0,
  });
});

test('without a reference, rewards are β log π, and there is no KL', async () => {
  const found = await asJson('--model', modelFolder, '--beta', '1');
  expect(found['rewards/chosen']).toBe(found['logps/chosen']);
  expect(Object.keys(found).filter((name) => /kl|ratio/.test(name))).toEqual([]);
});

test('the table names each measurement', async () => {
  const args = ['--model', policyFolder(), '--ref', modelFolder, '--max-new-tokens', '4', '--kl-prompts', '1'];
  const out = await evaluated(...args);
  expect(out).toMatch(/held-out pairs +16\n/);
  expect(out).toContain('0.1 (log π − log π_ref)');
  expect(out).toMatch(/KL from the reference +.* \(of 2 answers that the model drew\)/);
});
