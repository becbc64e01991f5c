import { readFileSync } from 'node:fs';
import { precomputeReference, runMicroBatch, wpoPairLoss } from '@wpo/trainer';
import { expect, test } from 'vitest';
import { golden, goldenPairs } from '../packages/gemma/test/golden';
import { parity } from '../packages/gemma/test/parity';
import { allBackends, goldenPolicies } from './backends';

/** Log-probs of transformers in bfloat16, made by scripts/make-bf16-golden.py. */
const transformers: Readonly<Record<string, readonly Readonly<Record<'chosen' | 'rejected', number>>[]>> = JSON.parse(
  readFileSync(new URL('./fixtures/bf16-golden.json', import.meta.url), 'utf8'),
);
const rms = (values: readonly number[]) => Math.sqrt(values.reduce((sum, x) => sum + x * x, 0) / values.length);

// WPO_PARITY=1 prints the largest difference of each comparison, which docs/parity.md lists.
test.each(allBackends)('precision bfloat16 stays near float32: %s, %s kernels', async (variant, kind) => {
  const expected = golden(variant);
  const pairs = goldenPairs(expected.truncation.paper);
  const { reference, policy } = await goldenPolicies(variant, kind, 'bfloat16');
  const references = await precomputeReference({ policy: reference, pairs });
  const loss = wpoPairLoss({ beta: 0.1 });
  const run = (count: number, lossScale?: number) =>
    runMicroBatch({
      policy,
      loss,
      lossScale,
      batch: { pairs: pairs.slice(0, count), references: references.slice(0, count) },
    });
  const { within, report } = parity(`bfloat16, ${variant}, ${kind}`);
  const ours: number[] = [];
  const theirs: number[] = [];
  for (const [i, { chosenLogps, rejectedLogps, weight }] of (await run(pairs.length)).entries()) {
    const { chosen_logps: chosen, rejected_logps: rejected, weight: exact } = expected.pairs[i]!;
    ours.push(chosenLogps - chosen, rejectedLogps - rejected);
    theirs.push(transformers[variant]![i]!.chosen - chosen, transformers[variant]![i]!.rejected - rejected);
    within('weight', weight - exact, 0.02);
  }
  within('log-probs, root mean square over that of transformers in bfloat16', rms(ours) / rms(theirs), 1);
  for (const parameter of policy.parameters) parameter.zeroGradient();
  await run(4, 1 / 4);
  for (const { name, gradient } of policy.parameters) {
    const values = (await gradient()!.data()) as Float32Array;
    const { norm } = expected.gradients[name]!;
    within('norm of a gradient, relative', Math.sqrt(values.reduce((sum, x) => sum + x * x, 0)) / norm - 1, 0.02, name);
  }
  report();
  expect(rms(ours)).toBeGreaterThan(0); // operands were rounded
});
