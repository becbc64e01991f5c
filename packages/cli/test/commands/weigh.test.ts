import '@wpo/tensorflow';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { MixtureOptions } from '@wpo/loss';
import { preferenceLoss } from '@wpo/loss/scalar';
import { expect, test } from 'vitest';
import type { WeighedPair } from '../../src/index';
import { main } from '../../src/main';
import { golden, modelFolder, pairsFile, policyFolder, temporaryFolder } from '../golden';
import { capture } from '../wpo';

const { max_length, max_prompt_length } = golden.truncation.limits;
const limits = ['--max-length', String(max_length), '--max-prompt-length', String(max_prompt_length)];

async function weighed(args: string[]): Promise<{ pairs: WeighedPair[]; out: string }> {
  const file = join(temporaryFolder(), 'weights.jsonl');
  const terminal = capture();
  expect(await main(['weigh', '--out', file, ...limits, ...args], terminal), terminal.err()).toBe(0);
  expect(readdirSync(dirname(file))).toEqual(['weights.jsonl']);
  const lines = readFileSync(file, 'utf8').trimEnd().split('\n');
  return { pairs: lines.map((line) => JSON.parse(line) as WeighedPair), out: terminal.out() };
}

test('weights of a policy and its reference equal PyTorch’s', async () => {
  const { pairs, out } = await weighed(['--model', policyFolder(), '--ref', modelFolder, '--pairs', pairsFile]);
  expect(pairs).toHaveLength(golden.pairs.length);
  for (const [i, expected] of golden.pairs.entries()) {
    const found = pairs[i]!;
    expect(Object.keys(found)).toEqual([
      'id',
      'file',
      'line',
      'prompt_tokens',
      'chosen_tokens',
      'rejected_tokens',
      'chosen_logps',
      'rejected_logps',
      'ref_chosen_logps',
      'ref_rejected_logps',
      'alignment',
      'weight',
      'dpo_loss',
      'wpo_loss',
    ]);
    for (const name of ['prompt_tokens', 'chosen_tokens', 'rejected_tokens'] as const) {
      expect(found[name]).toBe(expected[name]);
    }
    for (const name of ['chosen_logps', 'rejected_logps', 'ref_chosen_logps', 'ref_rejected_logps'] as const) {
      expect(Math.abs(found[name] - expected[name]), `${name} of ${i}`).toBeLessThan(1e-3);
    }
    for (const name of ['weight', 'dpo_loss', 'wpo_loss'] as const) {
      expect(Math.abs(found[name] - expected[name]), `${name} of ${i}`).toBeLessThan(1e-4);
    }
    for (const side of ['chosen', 'rejected'] as const) {
      for (const kind of ['sampled', 'greedy', 'none'] as const) {
        expect(Math.abs(found.alignment[side][kind] - expected.alignment[side][kind])).toBeLessThan(1e-4);
      }
    }
  }
  const mean = golden.pairs.reduce((sum, { weight }) => sum + weight, 0) / golden.pairs.length;
  expect(out).toContain(`weights of 16 pairs: mean ${mean.toFixed(4)}`);
  expect(out.match(/^ *[\d.]+–[\d.]+ {2}/gm)!.length).toBeGreaterThan(3);
});

test('each line names its row, and the extremes are shown with their texts, also if rows are skipped', async () => {
  const file = join(temporaryFolder(), 'pairs.jsonl');
  const row = (id: string, chosen: string) => JSON.stringify({ id, prompt: 'Why\n so?', chosen, rejected: 'No.' });
  writeFileSync(file, ['{"prompt": 1}', row('a', 'Because.'), 'nonsense', row('b', 'x'.repeat(200))].join('\n'));
  const { pairs, out } = await weighed(['--model', modelFolder, '--pairs', file, '--on-bad-row', 'skip']);
  expect(pairs.map(({ id, file, line }) => [id, file, line])).toEqual([
    ['a', file, 2],
    ['b', file, 4],
  ]);
  expect(out).toContain(`${file}:4  b\n    prompt    Why so?\n    chosen    ${'x'.repeat(80)}…\n    rejected  No.\n`);
});

test('without --ref, the model is its own reference, and every DPO loss is ln 2', async () => {
  const { pairs } = await weighed(['--model', modelFolder, '--pairs', pairsFile]);
  for (const pair of pairs) {
    expect(pair.ref_chosen_logps).toBe(pair.chosen_logps);
    expect(pair.dpo_loss).toBeCloseTo(Math.LN2, 6);
    expect(pair.wpo_loss).toBeCloseTo(pair.weight * Math.LN2, 6);
  }
});

test('beta and label smoothing change the loss; clamp and alignment change the weight', async () => {
  const [plain] = (await weighed(['--model', policyFolder(), '--ref', modelFolder, '--pairs', pairsFile])).pairs;
  const args = ['--beta', '0.5', '--label-smoothing', '0.2', '--alignment', 'none', '--no-clamp'];
  const [other] = (await weighed(['--model', policyFolder(), '--ref', modelFolder, '--pairs', pairsFile, ...args]))
    .pairs;
  const { chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps, alignment } = plain!;
  const delta = chosen_logps - rejected_logps - (ref_chosen_logps - ref_rejected_logps);
  const minusLogSigmoid = (x: number) => Math.log1p(Math.exp(-x));
  expect(plain!.dpo_loss).toBeCloseTo(minusLogSigmoid(0.1 * delta), 5);
  expect(other!.dpo_loss).toBeCloseTo(0.8 * minusLogSigmoid(0.5 * delta) + 0.2 * minusLogSigmoid(-0.5 * delta), 5);
  expect(other!.weight).toBeCloseTo(Math.exp(alignment.chosen.none + alignment.rejected.none), 5);
  expect(plain!.weight).toBeCloseTo(Math.exp(alignment.chosen.sampled + alignment.rejected.sampled), 5);
});

test('a row’s weight multiplies the WPO weight, as in training', async () => {
  const file = join(temporaryFolder(), 'pairs.jsonl');
  const row = { prompt: 'Why?', chosen: 'Because.', rejected: 'No.' };
  writeFileSync(file, [row, { ...row, weight: 0.25 }].map((pair) => JSON.stringify(pair)).join('\n'));
  const [plain, quarter] = (await weighed(['--model', modelFolder, '--pairs', file])).pairs;
  expect(quarter!.weight).toBeCloseTo(0.25 * plain!.weight, 7);
  expect(quarter!.wpo_loss).toBeCloseTo(0.25 * plain!.wpo_loss, 7);
});

test.each([
  ['sigmoid', {}],
  ['ipo', {}],
  ['simpo', { beta: 2 }],
  ['robust', { labelSmoothing: 0.2 }],
  ['exo_pair', { labelSmoothing: 0.1 }],
  ['kto', { kl: 0.5 }],
  ['orpo', {}],
] as const)('--loss-type %s writes loss and weighted_loss of PyTorch’s log-probs', async (lossType, options) => {
  const flags = { beta: '--beta', labelSmoothing: '--label-smoothing', kl: '--kl' };
  const args = Object.entries(options).flatMap(([name, value]) => [flags[name as keyof typeof flags], String(value)]);
  const { pairs } = await weighed([
    ...['--model', policyFolder(), '--ref', modelFolder, '--pairs', pairsFile],
    ...['--loss-type', lossType, ...args],
  ]);
  const column = (name: keyof WeighedPair) => golden.pairs.map((pair) => pair[name] as number);
  const input = {
    chosenLogps: column('chosen_logps'),
    rejectedLogps: column('rejected_logps'),
    refChosenLogps: column('ref_chosen_logps'),
    refRejectedLogps: column('ref_rejected_logps'),
    chosenLengths: column('chosen_tokens'),
    rejectedLengths: column('rejected_tokens'),
    weights: column('weight'),
    ...options,
  };
  const expected = preferenceLoss(input, { ...options, lossType } as MixtureOptions<'kto'>);
  for (const [i, pair] of pairs.entries()) {
    expect(Math.abs(pair.loss! / expected.unweightedLosses[i]! - 1)).toBeLessThan(1e-3);
    expect(Math.abs(pair.weighted_loss! / expected.losses[i]! - 1)).toBeLessThan(1e-3);
    if (lossType === 'sigmoid') expect([pair.loss, pair.weighted_loss]).toEqual([pair.dpo_loss, pair.wpo_loss]);
  }
});

test('a loss that cannot be computed is an error that names the flags, before anything is read', async () => {
  const refused = async (...args: string[]) => {
    const terminal = capture();
    expect(await main(['weigh', '--model', 'm', '--pairs', 'p', '--out', 'o', ...args], terminal)).toBe(1);
    return terminal.err();
  };
  expect(await refused('--loss-type', 'sigmod')).toContain('--loss-type: expected a loss: dpo, sigmoid,');
  expect(await refused('--loss-type', 'exo_pair')).toBe(
    '--label-smoothing: expected a number above 0 with --loss-type exo_pair, found 0. Its paper uses 1e-3.\n',
  );
  expect(await refused('--loss-type', 'robust', '--label-smoothing', '0.5')).toMatch(
    /expected a number from 0 to 0.4999 with --loss-type robust, found 0.5/,
  );
  expect(await refused('--loss-type', 'kto')).toMatch(
    /^--kl: expected a number of 0 or more with --loss-type kto, found nothing/,
  );
  expect(await refused('--loss-type', 'aot')).toMatch(/^--loss-type: expected a loss of single pairs, found aot/);
});

test('a bad row is an error with file and line, and no file is written', async () => {
  const folder = temporaryFolder();
  const [file, out] = [join(folder, 'pairs.jsonl'), join(folder, 'weights.jsonl')];
  writeFileSync(file, '{"prompt": "x", "chosen": "y", "rejected": "z"}\n{"prompt": "x"}\n');
  const terminal = capture();
  expect(await main(['weigh', '--model', modelFolder, '--pairs', file, '--out', out], terminal)).toBe(1);
  expect(terminal.err()).toMatch(
    new RegExp(`^${file}:2: expected "prompt", "chosen" and "rejected", .*, found the columns "prompt"`),
  );
  expect(terminal.err()).not.toContain('    at ');
  expect(existsSync(out)).toBe(false);
});
